"""Whole-table replace by a new table, for databases whose catalog keeps the statements that made a table (`strategy: swap`).

The old table is renamed away, its own statements make the new one under its name, and it is dropped once the new one is filled, all in the
transaction of the commit: nobody sees it half done, and nothing of it is left if it fails. Views name their tables, so they read from the
new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from beam_pipelines.io.sql.session import Session, quote, quote_table

__all__ = ["gone", "obstructed", "swapped"]


def obstructed(table: str, obstacles: Sequence[str]) -> str:
    """Why a table cannot be exchanged for another one."""
    return (
        f"strategy: swap puts a new table in the place of {table!r}, and what hangs on the old one would not follow:"
        f" {', '.join(obstacles)}; use strategy: delete-insert, or remove it first"
    )


def gone(load: str, known: str) -> str:
    """What is said of a target that somebody dropped: a new one would hold the rows of one run alone, so somebody has to choose.

    Args:
        load: The target, as configured.
        known: What tells that it was there.
    """
    return (
        f"the target {load!r} is gone, though {known}: run with --full-refresh to read everything again, or with --keep-watermark to load"
        " only what is new into a new one"
    )


@contextmanager
def swapped(
    tx: Session, table: str, *, aside: str, table_sql: str, indexes: Sequence[tuple[str, str]], triggers: Sequence[str] = ()
) -> Iterator[tuple[str, int]]:
    """Put an empty table in the place of another one, and drop that when the block ends; give its name, and the rows of the old.

    Args:
        tx: The commit's transaction.
        table: Its name, perhaps with a schema.
        aside: Name for the old one meanwhile, without a schema.
        table_sql: The statement that made it.
        indexes: Name and statement of each index that is not part of `table_sql`; they are made before rows come, so that a row which one
            of them refuses is refused as ever.
        triggers: Their statements; they are made when the rows are in, and see none of them.
    """
    schema, _, _ = table.rpartition(".")
    prefix = f"{quote(schema)}." if schema else ""
    rows = tx.execute(f"SELECT count(*) FROM {quote_table(table)}").rows[0][0]
    for name, _ in indexes:
        # Their names are needed for those of the new table.
        tx.execute(f"DROP INDEX {prefix}{quote(name)}")
    tx.execute(f"ALTER TABLE {quote_table(table)} RENAME TO {quote(aside)}")
    for statement in (table_sql, *(sql for _, sql in indexes)):
        tx.execute(statement)
    yield table, rows
    tx.execute(f"DROP TABLE {prefix}{quote(aside)}")
    for statement in triggers:
        tx.execute(statement)
