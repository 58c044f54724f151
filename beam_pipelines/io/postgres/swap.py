"""Whole-table replace by a new table that is renamed into place (`strategy: swap`), in the transaction of the commit.

The new table is made LIKE the old one INCLUDING ALL; foreign keys, owner, storage options, comments, replica identity, the names of indexes
and sequences and what these have handed out are carried over as well. Readers go on with the old table until the very end. What cannot be
carried over is refused: see `obstacles`. Grants stay behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import tenacity

from beam_pipelines.errors import FatalError, TransientError
from beam_pipelines.io.sql.session import Session, quote, quote_table, savepoint

__all__ = ["obstacles", "swapped"]

_OBSTACLES = """
WITH t AS (SELECT c.* FROM pg_class AS c WHERE c.oid = to_regclass(?)),
its (class, id) AS (  -- what depends on the table as a part of it, or is said in words of its own
    SELECT 'pg_class'::regclass, t.oid FROM t
    UNION ALL SELECT 'pg_class'::regclass, indexrelid FROM pg_index JOIN t ON indrelid = t.oid
    UNION ALL SELECT 'pg_class'::regclass, inhrelid FROM pg_inherits JOIN t ON inhparent = t.oid
    UNION ALL SELECT 'pg_attrdef'::regclass, a.oid FROM pg_attrdef AS a JOIN t ON a.adrelid = t.oid
    UNION ALL SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint AS c JOIN t ON t.oid IN (c.conrelid, c.confrelid)
    UNION ALL SELECT 'pg_trigger'::regclass, g.oid FROM pg_trigger AS g JOIN t ON g.tgrelid = t.oid
    UNION ALL SELECT 'pg_policy'::regclass, p.oid FROM pg_policy AS p JOIN t ON p.polrelid = t.oid
    UNION ALL SELECT 'pg_publication_rel'::regclass, p.oid FROM pg_publication_rel AS p JOIN t ON p.prrelid = t.oid
    UNION ALL SELECT 'pg_rewrite'::regclass, oid FROM pg_rewrite
),
known (class, id) AS (  -- what others may depend on: the table, the types of its rows, the sequences of identity columns
    SELECT 'pg_class'::regclass, t.oid FROM t
    UNION ALL SELECT 'pg_type'::regclass, y.oid FROM pg_type AS y JOIN t ON y.oid = t.reltype OR y.typelem = t.reltype
    UNION ALL SELECT d.classid, d.objid FROM pg_depend AS d JOIN t ON d.refobjid = t.oid AND d.refclassid = 'pg_class'::regclass
        WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'i'
)
SELECT 'it is no plain table' FROM t WHERE relkind <> 'r' OR relispartition OR relhassubclass
    OR EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = t.oid)
UNION ALL SELECT 'the trigger ' || quote_ident(tgname) FROM pg_trigger JOIN t ON tgrelid = t.oid WHERE NOT tgisinternal
UNION ALL SELECT 'row level security' FROM t WHERE relrowsecurity OR EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = t.oid)
UNION ALL SELECT 'the rule ' || quote_ident(rulename) FROM pg_rewrite JOIN t ON ev_class = t.oid WHERE relkind = 'r'
UNION ALL SELECT DISTINCT 'the view ' || r.ev_class::regclass FROM pg_depend AS d JOIN t ON d.refobjid = t.oid
    JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    WHERE d.refclassid = 'pg_class'::regclass AND r.ev_class <> t.oid
UNION ALL SELECT 'the foreign key ' || quote_ident(conname) || ' of ' || conrelid::regclass FROM pg_constraint JOIN t ON confrelid = t.oid
UNION ALL SELECT DISTINCT 'the publication ' || quote_ident(p.pubname) FROM pg_publication_tables AS p JOIN t ON p.tablename = t.relname
    AND p.schemaname = (SELECT nspname FROM pg_namespace WHERE oid = t.relnamespace)
UNION ALL SELECT DISTINCT 'the ' || pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend AS d
    JOIN known ON d.refclassid = known.class AND d.refobjid = known.id JOIN t ON t.relkind = 'r'
    WHERE d.deptype = 'n' AND NOT EXISTS (SELECT 1 FROM its WHERE its.class = d.classid AND its.id = d.objid)
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
    "SELECT d.objid::regclass::text, a.attname, d.deptype, s.relname FROM pg_depend AS d"
    " JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'"
    " JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
    " WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(?)"
    " AND d.deptype IN ('a', 'i') ORDER BY a.attnum"
)
# Comments that LIKE leaves out, as the server writes a text in a statement: COMMENT takes no parameters.
_COMMENTS = (
    "SELECT NULL, quote_literal(c) FROM obj_description(to_regclass(?), 'pg_class') AS c WHERE c IS NOT NULL"
    " UNION ALL SELECT conname, quote_literal(obj_description(oid, 'pg_constraint')) FROM pg_constraint"
    " WHERE conrelid = to_regclass(?) AND contype = 'f' AND obj_description(oid, 'pg_constraint') IS NOT NULL"
)
# What logical replication tells rows by, unless it is the default.
_IDENTITY = (
    "SELECT CASE relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END,"
    " (SELECT n.relname FROM pg_index AS i JOIN pg_class AS n ON n.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisreplident)"
    " FROM pg_class AS c WHERE oid = to_regclass(?) AND relreplident <> 'd'"
)
# Of the lock against readers, once the new table is filled: five minutes in all.
TRIES, TRY_MS, PAUSE = 100, 2_000, 1.0  # PAUSE in seconds; below the time after which the server ends an idle transaction


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
    told_by = tx.execute(_IDENTITY, (old,)).rows  # before the old indexes are renamed
    _name_indexes(tx, schema, old, new, run)
    for key, definition in tx.execute(_FOREIGN, (old,)).rows:
        tx.execute(f"ALTER TABLE {new} ADD CONSTRAINT {quote(key)} {definition}")
    sequences = tx.execute(_SEQUENCES, (old,)).rows
    renamed = _carry_identities(tx, sequences, new)
    for key, comment in tx.execute(_COMMENTS, (old, old)).rows:
        tx.execute(f"COMMENT ON {f'CONSTRAINT {quote(key)} ON {new}' if key else f'TABLE {new}'} IS {comment}")
    for how, index in told_by:
        tx.execute(f"ALTER TABLE {new} REPLICA IDENTITY {f'USING INDEX {quote(index)}' if index else how}")
    yield fresh, rows
    _lock_out_readers(tx, table)
    for sequence, column, kind, _ in sequences:
        if kind == "a":
            tx.execute(f"ALTER SEQUENCE {sequence} OWNED BY {new}.{quote(column)}")
    tx.execute(f"DROP TABLE {old}")
    tx.execute(f"ALTER TABLE {new} RENAME TO {quote(name)}")
    for sequence, its in renamed:
        tx.execute(f"ALTER SEQUENCE {sequence} RENAME TO {quote(its)}")


def _lock_out_readers(tx: Session, table: str) -> None:
    """Lock the old table against all. The load is done by now, and is not to be done again because somebody reads for long.

    New readers queue behind a lock that is waited for, so it is asked for by short tries, with pauses that let them through.

    Raises:
        FatalError: A reader held on through all tries.
    """
    retry = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, TransientError) and error.code == "locked"),
        stop=tenacity.stop_after_attempt(TRIES),
        wait=tenacity.wait_fixed(PAUSE),
        reraise=True,
    )

    def once() -> None:
        with savepoint(tx):
            tx.execute(f"SET LOCAL lock_timeout = {TRY_MS}")
            tx.execute(f"LOCK TABLE {quote_table(table)} IN ACCESS EXCLUSIVE MODE")

    kept = tx.execute("SHOW lock_timeout").rows[0][0]
    try:
        retry(once)
    except TransientError as held:
        if held.code != "locked":
            raise
        minutes = TRIES * (TRY_MS / 1000 + PAUSE) / 60
        raise FatalError(
            f"{table!r} is filled anew, but somebody read the old table for {minutes:.0f} minutes without a break, so it could not be"
            " exchanged, and nothing is loaded. The log names the session: end it, or use strategy: delete-insert, which waits for no"
            " reader",
            code="commit-failed",
        ) from held
    tx.execute(f"SET LOCAL lock_timeout = '{kept}'")


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


def _carry_identities(tx: Session, sequences: Sequence[tuple[str, str, str, str]], new: str) -> list[tuple[str, str]]:
    """No number that an identity column has handed out is handed out again; give each new sequence with the name it is to have."""
    made = {column: sequence for sequence, column, kind, _ in tx.execute(_SEQUENCES, (new,)).rows if kind == "i"}
    renamed = []
    for sequence, column, kind, name in sequences:
        if kind == "i":
            text = made[column].replace("'", "''")
            tx.execute(f"SELECT setval('{text}'::regclass, last_value, is_called) FROM {sequence}")
            renamed.append((made[column], name))
    return renamed
