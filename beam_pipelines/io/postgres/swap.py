"""Whole-table replace by a new table that is renamed into place (`strategy: swap`), in the transaction of the commit.

The new table is made LIKE the old one INCLUDING ALL; foreign keys, owner, storage options, the names of indexes and what sequences have
handed out are carried over as well. Readers go on with the old table until the very end. What cannot be carried over is refused: see
`obstacles`. Grants stay behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from beam_pipelines.io.sql.session import Session, quote, quote_table

__all__ = ["obstacles", "swapped"]

_OBSTACLES = """
WITH t AS (SELECT c.* FROM pg_class AS c WHERE c.oid = to_regclass(?))
SELECT 'it is no plain table' FROM t WHERE relkind <> 'r' OR relispartition OR relhassubclass
    OR EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = t.oid)
UNION ALL SELECT 'the trigger ' || quote_ident(tgname) FROM pg_trigger JOIN t ON tgrelid = t.oid WHERE NOT tgisinternal
UNION ALL SELECT 'row level security' FROM t WHERE relrowsecurity OR EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = t.oid)
UNION ALL SELECT 'the rule ' || quote_ident(rulename) FROM pg_rewrite JOIN t ON ev_class = t.oid WHERE relkind = 'r'
UNION ALL SELECT DISTINCT 'the view ' || r.ev_class::regclass FROM pg_depend AS d JOIN t ON d.refobjid = t.oid
    JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    WHERE d.refclassid = 'pg_class'::regclass AND r.ev_class <> t.oid
UNION ALL SELECT 'the foreign key ' || quote_ident(conname) || ' of ' || conrelid::regclass FROM pg_constraint JOIN t ON confrelid = t.oid
UNION ALL SELECT 'the publication ' || quote_ident(pubname) FROM pg_publication_rel
    JOIN t ON prrelid = t.oid JOIN pg_publication AS p ON p.oid = prpubid
"""
_TABLE = (
    "SELECT n.nspname, c.relname, c.relpersistence, array_to_string(c.reloptions, ', '), pg_get_userbyid(c.relowner), current_user"
    " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(?)"
)
_INDEXES = (
    "SELECT n.relname, substring(pg_get_indexdef(i.indexrelid) FROM ' USING .*'), i.indisunique, i.indisprimary"
    " FROM pg_index AS i JOIN pg_class AS n ON n.oid = i.indexrelid WHERE i.indrelid = to_regclass(?) ORDER BY i.indexrelid"
)
_FOREIGN = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass(?) AND contype = 'f' ORDER BY oid"
# Sequences of columns: owned ones (`serial`) are of use to the new table as they are, those of identity columns come anew.
_SEQUENCES = (
    "SELECT d.objid::regclass::text, a.attname, d.deptype FROM pg_depend AS d JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'"
    " JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
    " WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(?)"
    " AND d.deptype IN ('a', 'i') ORDER BY a.attnum"
)


def obstacles(tx: Session, table: str) -> list[str]:
    """What hangs on a table by its identity, and would be lost with it or keep to it."""
    return [what for (what,) in tx.execute(_OBSTACLES, (quote_table(table),)).rows]


@contextmanager
def swapped(tx: Session, table: str, run: str) -> Iterator[tuple[str, int]]:
    """Give a new, empty table like `table`, and the rows of that; when the block ends it is renamed, and the old one dropped.

    Args:
        tx: The commit's transaction.
        table: Its name, perhaps with a schema.
        run: Run id, which no other table has in its name.
    """
    old = quote_table(table)
    ((schema, name, persistence, options, owner, me),) = tx.execute(_TABLE, (old,)).rows
    fresh = f"{schema}._bp_swap_{run}"
    new = quote_table(fresh)
    # Others may read, but neither write nor alter: what they wrote would be lost with the old table.
    tx.execute(f"LOCK TABLE {old} IN SHARE ROW EXCLUSIVE MODE")
    rows = tx.execute(f"SELECT count(*) FROM {old}").rows[0][0]
    tx.execute(f"CREATE {'UNLOGGED ' if persistence == 'u' else ''}TABLE {new} (LIKE {old} INCLUDING ALL)")
    if options:
        tx.execute(f"ALTER TABLE {new} SET ({options})")
    if owner != me:
        tx.execute(f"ALTER TABLE {new} OWNER TO {quote(owner)}")
    _name_indexes(tx, schema, old, new, run)
    for key, definition in tx.execute(_FOREIGN, (old,)).rows:
        tx.execute(f"ALTER TABLE {new} ADD CONSTRAINT {quote(key)} {definition}")
    sequences = tx.execute(_SEQUENCES, (old,)).rows
    _carry_identities(tx, sequences, new)
    yield fresh, rows
    tx.execute(f"LOCK TABLE {old} IN ACCESS EXCLUSIVE MODE")
    for sequence, column, kind in sequences:
        if kind == "a":
            tx.execute(f"ALTER SEQUENCE {sequence} OWNED BY {new}.{quote(column)}")
    tx.execute(f"DROP TABLE {old}")
    tx.execute(f"ALTER TABLE {new} RENAME TO {quote(name)}")


def _name_indexes(tx: Session, schema: str, old: str, new: str, run: str) -> None:
    """Give the new indexes (and the constraints that are kept by them) the names of the old: refusals tell them, and so do migrations."""
    made = tx.execute(_INDEXES, (new,)).rows
    for number, (name, *alike) in enumerate(tx.execute(_INDEXES, (old,)).rows):
        twin = next((row for row in made if row[1:] == tuple(alike)), None)
        if twin is None:  # an index that is invalid, say: LIKE leaves it out
            continue
        made.remove(twin)
        tx.execute(f"ALTER INDEX {quote(schema)}.{quote(name)} RENAME TO {quote(f'_bp_old_{run}_{number}')}")
        tx.execute(f"ALTER INDEX {quote(schema)}.{quote(twin[0])} RENAME TO {quote(name)}")


def _carry_identities(tx: Session, sequences: Sequence[tuple[str, str, str]], new: str) -> None:
    """No number that an identity column has handed out is handed out again."""
    made = {column: sequence.replace("'", "''") for sequence, column, kind in tx.execute(_SEQUENCES, (new,)).rows if kind == "i"}
    for sequence, column, kind in sequences:
        if kind == "i":
            tx.execute(f"SELECT setval('{made[column]}'::regclass, last_value, is_called) FROM {sequence}")
