"""What a run fixes before it reads, worked out from a catalog and a ledger that are plain values here."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.prepare import TARGET, prepare
from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import CursorSpec, Described, Fixed, LedgerRow, SourceTraits, Standing, TargetTraits
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Range, Window
from beam_pipelines.spec import parse

SCHEMA = pa.schema([("id", pa.int64()), ("Name", pa.string()), ("updated_at", pa.timestamp("us", "UTC"))])
AT = Mark("timestamptz", "2026-01-01T12:00:00.000000+00:00")
RUN = "00000000000a"


@dataclass
class Catalog:
    """A source that knows its tables."""

    described: dict[str, Described]
    cursor: CursorSpec | None = None
    fixed: list[tuple[Any, ...]] = field(default_factory=list)
    sampled: int = 0
    rows: int = 3
    closed: bool = False
    traits = SourceTraits("sqlite", safe_ceiling=True)

    def tables(self) -> list[str]:
        return list(self.described)

    def describe(self, table: str) -> Described:
        return self.described[table]

    def identity(self, table: str) -> str:
        return f"{table} by {self.cursor.column if self.cursor else '-'}"

    def fix(self, table: str, cursor: CursorSpec | None, low: Mark | None, inclusive: bool, parts: int) -> Fixed:
        self.fixed.append((table, low, inclusive, parts))
        return Fixed(AT if cursor else None, False, tuple(Range("", table, index) for index in range(parts)), "snap", "clock")

    def sample(self, table: str, limit: int) -> pa.RecordBatch:
        self.sampled += 1
        rows = min(self.rows, limit)
        batch = pa.record_batch({"id": pa.array(range(rows), pa.int64()), "Name": ["x"] * rows}).append_column(
            pa.field("updated_at", pa.timestamp("us", "UTC")), pa.nulls(rows, pa.timestamp("us", "UTC"))
        )
        return origin.attach(batch, table, key=["id"])

    def close(self) -> None:
        self.closed = True


@dataclass
class Ledger:
    """A target that remembers what was prepared."""

    standings: dict[str, Standing] = field(default_factory=dict)
    there: dict[str, Described] = field(default_factory=dict)
    traits: TargetTraits = field(default_factory=lambda: TargetTraits("duckdb"))
    entries: dict[tuple[str, str], Window] = field(default_factory=dict)
    closed: bool = False

    def rows(self, service: str, run: str) -> list[LedgerRow]:
        return [LedgerRow(run, load, "prepared", window, None, "", None) for (of, load), window in self.entries.items() if of == run]

    def standing(self, service: str, load: str) -> Standing:
        return self.standings.get(load, Standing())

    def describe(self, load: str) -> Described | None:
        return self.there.get(load)

    def stored(self, schema: pa.Schema) -> pa.Schema:
        return schema

    def prepare(self, window: Window, context: RunContext) -> Window:
        return self.entries.setdefault((window.run, window.load), window)

    def close(self) -> None:
        self.closed = True


@dataclass(frozen=True)
class Desk(Job):
    """A job whose source and target are plain values."""

    source: Any = None
    target: Any = None

    def open_source(self, context: RunContext | None) -> Any:
        return self.source

    def open_target(self, context: RunContext | None) -> Any:
        return self.target


def desk(
    destination: dict[str, Any] | None = None,
    *,
    steps: list[dict[str, Any]] | None = None,
    cursor: CursorSpec | None = None,
    described: Described | None = None,
    ledger: Ledger | None = None,
    folder: Path | None = None,
    **more: Any,
) -> Desk:
    pipeline = {
        "source": {"type": "database", "connection": "crm", "table": "customers"},
        "transformations": steps or [],
        "destination": {"type": "database", "connection": "target", "table": "customers", **(destination or {})},
    }
    made = Job.of(parse({"name": "Customers", "pipeline": pipeline, **more}).definition, folder)
    catalog = Catalog({"customers": described or Described(SCHEMA, ("id",), 10)}, cursor)
    return Desk(made.text, made.folder, source=catalog, target=ledger or Ledger())


def context(**more: Any) -> RunContext:
    return RunContext(RUN, "2026-01-02T00:00:00.000000+00:00", **more)


def fixed(made: Desk, **more: Any) -> Window:
    (window,) = prepare(made, context(**more)).values()
    return window


NEWER = CursorSpec("updated_at")


# The window.


def test_a_first_run_reads_from_the_start_up_to_the_ceiling() -> None:
    made = desk({"mode": "insert"}, cursor=NEWER)
    window = fixed(made)
    assert (window.service, window.load, window.table, window.run, window.generation) == ("customers", "customers", "customers", RUN, 0)
    assert (window.low, window.full, window.ceiling, window.ceiling_by, window.snapshot) == (None, True, AT, "clock", "snap")
    assert [part.load for part in window.ranges] == ["customers"]
    assert window.schema() == SCHEMA
    assert (made.source.closed, made.target.closed) == (True, True)


def test_an_increment_reads_above_the_watermark_and_keeps_the_generation_it_saw() -> None:
    window = fixed(desk({"mode": "insert"}, cursor=NEWER, ledger=Ledger({"customers": Standing(4, AT)}, {"customers": Described(SCHEMA)})))
    assert (window.low, window.inclusive, window.full, window.generation) == (AT, False, False, 4)


@pytest.mark.parametrize(
    ("mark", "overlap", "low"),
    [
        (AT, 3600.0, "2026-01-01T11:00:00.000000+00:00"),
        (Mark("timestamp", "2026-01-01T12:00:00.000000"), 0.5, "2026-01-01T11:59:59.500000"),
        (Mark("date", "2026-01-10"), 86400.0, "2026-01-09"),
        (Mark("date", "2026-01-10"), 90000.0, "2026-01-08"),  # dates are taken back by whole days, rather one more
        (Mark("int", "1000"), 100.0, "900"),
        (Mark("decimal", "10.50"), 2.0, "8.50"),
        (Mark("float", "10.5"), 2.0, "8.5"),
        (Mark("text", "2026-01-01 12:00:00"), 3600.0, "2026-01-01 12:00:00"),  # the source knows how its text is a time
    ],
)
def test_an_overlap_is_taken_off_the_watermark_and_read_from_there_on(mark: Mark, overlap: float, low: str) -> None:
    ledger = Ledger({"customers": Standing(1, mark)}, {"customers": Described(SCHEMA, ("id",))})
    made = desk({"mode": "upsert"}, cursor=replace(NEWER, overlap=overlap), ledger=ledger)
    window = fixed(made)
    assert window.low is not None
    assert (window.low.type, window.low.text, window.inclusive) == (mark.type, low, True)
    assert made.source.fixed == [("customers", window.low, True, 1)]


def test_a_full_refresh_forgets_the_watermark_and_not_the_generation() -> None:
    ledger = Ledger({"customers": Standing(4, AT, "of another query")}, {"customers": Described(SCHEMA, ("id",))})
    window = fixed(desk({"mode": "upsert"}, cursor=NEWER, ledger=ledger), full_refresh=True)
    assert (window.low, window.full, window.generation) == (None, True, 4)


@pytest.mark.parametrize(("rows", "parts"), [(None, 1), (0, 1), (999_999, 1), (2_500_000, 2), (10**9, 16)])
def test_large_sources_are_read_in_ranges_and_small_ones_in_one(rows: int | None, parts: int) -> None:
    made = desk(described=Described(SCHEMA, ("id",), rows))
    assert len(fixed(made).ranges) == parts
    assert made.source.fixed[0][-1] == parts


def test_a_retry_finds_what_stands_and_fixes_nothing_anew() -> None:
    made = desk(cursor=NEWER)
    first = fixed(made)
    made.source.described["customers"] = Described(SCHEMA.append(pa.field("late", pa.int64())), ("id",), 10**9)
    assert fixed(made) == first
    assert len(made.source.fixed) == 1


def test_a_changed_fingerprint_stops_until_the_user_chooses() -> None:
    standing = Standing(4, AT, "of another query")
    made = desk({"mode": "upsert"}, cursor=NEWER, ledger=Ledger({"customers": standing}, {"customers": Described(SCHEMA, ("id",))}))
    with pytest.raises(PlanError, match="--keep-watermark") as stopped:
        fixed(made)
    assert stopped.value.code == "fingerprint-changed"
    assert (made.source.closed, made.target.closed) == (True, True)
    assert fixed(made, keep_watermark=True).low == AT


def test_a_fingerprint_is_of_source_cursor_connections_and_target() -> None:
    prints = {
        fixed(desk(cursor=NEWER)).fingerprint,
        fixed(desk(cursor=replace(NEWER, column="id"))).fingerprint,
        fixed(desk({"table": "elsewhere"}, cursor=NEWER)).fingerprint,
        fixed(desk({"connection": "warehouse"}, cursor=NEWER)).fingerprint,
    }
    assert len(prints) == 4
    # What may change without the watermark changing its meaning.
    assert fixed(desk({"batchSize": 7}, cursor=NEWER, description="other")).fingerprint == fixed(desk(cursor=NEWER)).fingerprint


def test_every_table_has_a_window_of_its_own() -> None:
    made = desk({"table": "raw_{table}"})
    made.source.described = {"crm.a": Described(SCHEMA), "crm.b": Described(pa.schema([("x", pa.int32())]))}
    windows = prepare(made, context())
    assert {load: (window.table, window.schema().names) for load, window in windows.items()} == {
        "raw_a": ("crm.a", ["id", "Name", "updated_at"]),
        "raw_b": ("crm.b", ["x"]),
    }


# Schemas.


def test_the_schema_after_every_step_is_planned_and_the_target_s_is_named_as_asked() -> None:
    steps = [
        {"id": "m", "type": "map", "mappings": {"CustomerID": {"source": "id"}, "Name": {"source": "Name"}}},
        {"id": "f", "type": "filter", "condition": "CustomerID > 1"},
    ]
    window = fixed(desk(steps=steps, naming="snake"))
    assert window.schema("m").names == window.schema("f").names == ["CustomerID", "Name"]
    assert window.schema(TARGET).names == ["customer_id", "name"]


FUNCTION = [{"id": "twice", "type": "function"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "functions.py").write_text("def twice(row: dict):\n    return {'id': row['id'], 'double': row['id'] * 2.0}\n")
    return tmp_path


def test_what_a_function_gives_is_sampled_once_and_kept_with_the_fingerprint(folder: Path) -> None:
    made = desk(steps=FUNCTION, folder=folder)
    window = fixed(made)
    assert {field.name: str(field.type) for field in window.schema("twice")} == {"id": "int64", "double": "double"}
    assert made.source.sampled == 1
    ledger = Ledger(
        {"customers": Standing(1, None, window.fingerprint, RUN, window.schemas)}, {"customers": Described(window.schema(TARGET))}
    )
    again = desk(steps=FUNCTION, folder=folder, ledger=ledger)
    assert fixed(again).schema("twice") == window.schema("twice")
    assert again.source.sampled == 0


def test_what_a_function_declares_is_asked_for_each_time_for_it_may_stand_in_another_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = "from typing import TypedDict\n\n\nclass Person(TypedDict):\n    id: int\n"
    for folder, more in (("before", ""), ("after", "    name: str\n")):
        (tmp_path / folder).mkdir()
        code = "from people_of_this_test import Person\n\n\ndef twice(row: dict) -> Person:\n    return row\n"
        (tmp_path / folder / "functions.py").write_text(code)
        (tmp_path / folder / "people_of_this_test.py").write_text(declared + more)
    window = fixed(desk(steps=FUNCTION, folder=tmp_path / "before"))
    assert window.schema("twice").names == ["id"]
    ledger = Ledger(
        {"customers": Standing(1, None, window.fingerprint, RUN, window.schemas)}, {"customers": Described(window.schema(TARGET))}
    )
    monkeypatch.delitem(sys.modules, "people_of_this_test")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path / "before")])
    assert fixed(desk(steps=FUNCTION, folder=tmp_path / "after", ledger=ledger)).schema("twice").names == ["id", "name"]


def test_it_is_sampled_again_when_what_is_read_has_other_columns(folder: Path) -> None:
    window = fixed(desk(steps=FUNCTION, folder=folder))
    ledger = Ledger(
        {"customers": Standing(1, None, window.fingerprint, RUN, window.schemas)}, {"customers": Described(window.schema(TARGET))}
    )
    wider = Described(SCHEMA.append(pa.field("age", pa.int64())), ("id",), 10)
    made = desk(steps=FUNCTION, folder=folder, ledger=ledger, described=wider)
    made.source.rows = 3
    sample = made.source.sample

    def with_age(table: str, limit: int) -> pa.RecordBatch:
        batch = origin.visible(sample(table, limit))
        return origin.attach(batch.append_column("age", pa.array([1] * batch.num_rows, pa.int64())), table, key=["id"])

    made.source.sample = with_age
    fixed(made)
    assert made.source.sampled == 1


def test_an_empty_sample_ends_as_an_empty_run_that_makes_no_table(folder: Path) -> None:
    made = desk(steps=FUNCTION, folder=folder)
    made.source.rows = 0
    window = fixed(made)
    assert (window.ranges, window.schema(TARGET).names) == ((), [])
    assert made.source.fixed == []


def test_names_that_are_ours_are_refused() -> None:
    with pytest.raises(PlanError, match="__bp_"):
        fixed(desk(described=Described(pa.schema([("__bp_source", pa.string())]))))


# Keys.


def keys(**parts: Any) -> tuple[tuple[str, ...], tuple[str, ...], str | None]:
    window = fixed(desk(**parts))
    return window.key_fields, window.unique_on, window.version_column


UPSERT: dict[str, Any] = {"mode": "upsert"}
RENAMED = [{"id": "m", "type": "map", "mappings": {"key": {"source": "id"}, "Name": {"source": "Name"}, "at": {"source": "updated_at"}}}]
CONVERTED = [{"id": "m", "type": "map", "unmapped": "keep", "mappings": {"id": {"expression": "id + 1"}}}]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"destination": UPSERT}, (("id",), ("id",), None)),
        ({"destination": UPSERT, "cursor": NEWER}, (("id",), ("id",), "updated_at")),
        # Given by the user: the source's key says nothing of them.
        ({"destination": {**UPSERT, "keyFields": ["Name"]}}, (("Name",), (), None)),
        # Renamed on the way.
        ({"destination": UPSERT, "steps": RENAMED, "cursor": NEWER}, (("key",), ("key",), "at")),
        # A key that was computed may repeat.
        ({"destination": {**UPSERT, "keyFields": ["id"]}, "steps": CONVERTED}, (("id",), (), None)),
        # The target's key goes before the source's.
        ({"destination": UPSERT, "ledger": Ledger(there={"customers": Described(SCHEMA, ("Name",))})}, (("Name",), (), None)),
        ({"destination": {**UPSERT, "versionColumn": "Name"}, "cursor": NEWER}, (("id",), ("id",), "Name")),
        (
            {"destination": UPSERT, "naming": "snake", "cursor": NEWER, "described": Described(SCHEMA, ("Name",))},
            (("name",), ("name",), "updated_at"),
        ),
        # A cursor that is written in another case is the column that is meant.
        ({"destination": UPSERT, "cursor": replace(NEWER, column="UPDATED_AT")}, (("id",), ("id",), "updated_at")),
        ({"destination": {"mode": "insert"}, "cursor": NEWER}, ((), (), None)),
        ({"destination": {"mode": "replace", "keyFields": ["id"]}, "cursor": NEWER}, (("id",), ("id",), None)),
    ],
)
def test_keys_and_version_are_found_where_they_arrive(parts: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert keys(**parts) == expected


DROPPED = [{"id": "m", "type": "map", "mappings": {"Name": {"source": "Name"}}}]


@pytest.mark.parametrize(
    ("parts", "code", "path"),
    [
        ({"destination": UPSERT, "described": Described(SCHEMA)}, "key-missing", "keyFields"),
        ({"destination": UPSERT, "steps": DROPPED}, "key-missing", "keyFields"),
        ({"destination": {**UPSERT, "keyFields": ["nope"]}}, "key-missing", "keyFields"),
        ({"destination": UPSERT, "described": Described(SCHEMA, ("id", "Name")), "steps": DROPPED}, "key-missing", "keyFields"),
        ({"destination": {**UPSERT, "versionColumn": "nope"}}, "column-missing", "versionColumn"),
    ],
)
def test_keys_that_do_not_arrive_are_refused_before_anything_is_read(parts: dict[str, Any], code: str, path: str) -> None:
    made = desk(**parts)
    with pytest.raises(PlanError) as refused:
        fixed(made)
    assert (refused.value.code, refused.value.problems[0].path) == (code, f"pipeline.destination.{path}")
    assert made.source.fixed == []


# What Commit would refuse.


def test_names_that_a_target_cannot_tell_apart_are_refused() -> None:
    described = Described(pa.schema([("Id", pa.int64()), ("id", pa.int64())]))
    folding = Ledger(traits=TargetTraits("duckdb", folds_case=True))
    with pytest.raises(PlanError, match="'Id' and 'id' are the same to duckdb"):
        fixed(desk(described=described, ledger=folding))
    assert fixed(desk(described=described)).schema(TARGET).names == ["Id", "id"]


def test_two_columns_under_one_name_are_refused() -> None:
    with pytest.raises(PlanError, match="two columns arrive in 'customers' under one name"):
        fixed(desk(described=Described(pa.schema([("Id", pa.int64()), ("id", pa.int64())])), naming="snake"))


@pytest.mark.parametrize("folds", [True, False])
def test_a_frozen_schema_refuses_columns_that_the_table_lacks(folds: bool) -> None:
    there = {"customers": Described(pa.schema([("id", pa.int64()), ("NAME", pa.string())]))}
    made = desk({"schema": "freeze"}, ledger=Ledger(there=there, traits=TargetTraits("x", folds_case=folds)))
    with pytest.raises(PlanError, match=f"lacks the columns {'' if folds else 'Name, '}updated_at") as refused:
        fixed(made)
    assert (refused.value.code, refused.value.problems[0].path) == ("schema-frozen", "pipeline.destination.schema")
    assert made.source.fixed == []


def test_a_type_that_the_target_cannot_keep_is_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    made = desk()

    def refuse(schema: pa.Schema) -> pa.Schema:
        raise PlanError("no such type", code="type-unsupported")

    monkeypatch.setattr(made.target, "stored", refuse)
    with pytest.raises(PlanError, match="no such type"):
        fixed(made)
    assert made.source.fixed == []
    assert made.target.entries == {}


@pytest.mark.parametrize(
    ("held", "refused"),
    [(pa.string(), False), (pa.large_string(), False), (pa.int64(), True), (pa.float64(), True), (pa.date32(), True), (pa.bool_(), True)],
)
def test_a_key_is_refused_in_a_type_to_which_different_keys_may_be_one(held: pa.DataType, refused: bool) -> None:
    # '7' and '07' are two texts and one number: of their rows one would be lost, or both be inserted.
    there = {"customers": Described(pa.schema([("Name", held), ("id", pa.int64())]))}
    made = desk({"keyFields": ["Name"]}, ledger=Ledger(there=there))
    if not refused:
        assert fixed(made).key_fields == ("Name",)
        return
    with pytest.raises(PlanError, match="key 'Name' arrives as string, but 'customers' holds it as") as caught:
        fixed(made)
    assert caught.value.code == "mode-refused"


@pytest.mark.parametrize("name", ["_bp_row", "_BP_Row", "_bp_rank"])
def test_columns_that_the_merge_uses_itself_are_refused(name: str) -> None:
    made = desk(
        described=Described(pa.schema([("id", pa.int64()), (name, pa.string()), ("updated_at", pa.timestamp("us", "UTC"))]), ("id",))
    )
    with pytest.raises(PlanError, match=f"the column '{name}' has a name that the merge uses itself"):
        fixed(made)
