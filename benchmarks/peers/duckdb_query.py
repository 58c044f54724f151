"""DuckDB: one query over the Parquet files of a folder, into a Parquet file."""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb


def main() -> None:
    data, query, target = sys.argv[1:]
    with duckdb.connect(config={"threads": 2}) as connection:
        for file in Path(data).glob("*.parquet"):
            connection.execute(f"CREATE VIEW {file.stem} AS SELECT * FROM read_parquet('{file}')")
        connection.execute(f"COPY ({Path(query).read_text()}) TO '{target}' (FORMAT parquet)")


if __name__ == "__main__":
    main()
