"""DuckDB: the cleaning of orders of the batch case, each file copied to one of its own, with two threads.

python duckdb_batch.py INPUT OUTPUT
"""

import sys
from pathlib import Path

import duckdb

_CLEANED = """
SELECT *, round(amount * quantity, 2) AS total
FROM (
    SELECT order_id, lower(trim(email)) AS email, CAST(trim(amount) AS double) AS amount, quantity,
        CAST(ordered_at AS timestamp) AS ordered_at,
        CASE status WHEN 'A' THEN 'active' WHEN 'S' THEN 'shipped' WHEN 'C' THEN 'cancelled' WHEN 'R' THEN 'returned' END AS status,
        lower(country) AS country
    FROM read_csv(?, header = true, delim = ',', quote = '"', columns = {
        'order_id': 'bigint', 'email': 'varchar', 'amount': 'varchar', 'quantity': 'int', 'ordered_at': 'varchar', 'status': 'varchar',
        'country': 'varchar'})
)
WHERE status <> 'cancelled' AND amount > 0
"""


def main() -> None:
    source, output = map(Path, sys.argv[1:])
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        for path in sorted(source.glob("*.csv")):
            target = output / f"{path.stem}.parquet"
            connection.execute(f"COPY ({_CLEANED}) TO '{target}' (FORMAT parquet, COMPRESSION snappy)", [str(path)])


if __name__ == "__main__":
    main()
