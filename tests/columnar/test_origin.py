from __future__ import annotations

import datetime as dt
from decimal import Decimal

import orjson
import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.errors import PlanError

CUSTOMERS = pa.record_batch({"id": [17, 18, 19], "name": ["a", "b", None]})
OFFSETS = pa.array([990, 991, 994], pa.int64())
TIMES = pa.array([5_000, 7_000, 6_000], pa.int64())
MESSAGES = origin.attach_offsets(CUSTOMERS, "user-events", 3, OFFSETS, TIMES, pa.array([None, 5_000, 7_000], pa.int64()))


def test_a_key_is_carried_as_the_column_itself() -> None:
    batch = origin.attach(CUSTOMERS, "customers", key=["id"])

    assert batch.schema.names == ["id", "name", "__bp_source", "__bp_key"]
    assert batch.column("__bp_key").buffers()[1].address == CUSTOMERS.column("id").buffers()[1].address
    assert batch.schema.field("__bp_source").type == pa.dictionary(pa.int32(), pa.string())
    assert origin.describe(batch, [2, 0]) == [{"source": "customers", "key": {"id": 19}}, {"source": "customers", "key": {"id": 17}}]


def test_a_key_of_several_columns_is_described_by_their_names() -> None:
    batch = origin.attach(CUSTOMERS, "customers", key=["name", "id"])

    assert origin.describe(batch, [1]) == [{"source": "customers", "key": {"name": "b", "id": 18}}]


def test_a_position_counts_from_the_first_row() -> None:
    batch = origin.attach(CUSTOMERS, "a.csv", first_row=1_000)

    assert batch.column("__bp_row").to_pylist() == [1_000, 1_001, 1_002]
    assert origin.describe(batch.slice(1, 2), [1]) == [{"source": "a.csv", "row": 1_002}]


def test_keys_are_described_in_values_that_json_holds() -> None:
    batch = pa.record_batch(
        {
            "at": pa.array([dt.datetime(2024, 5, 1, 12)], pa.timestamp("us", "UTC")),
            "n": [Decimal("1.50")],
            "b": [b"\xff"],
            "d": [dt.date(2024, 1, 2)],
        }
    )

    found = origin.describe(origin.attach(batch, "t", key=["at", "n", "b", "d"]), [0])

    assert found == [{"source": "t", "key": {"at": "2024-05-01T12:00:00.000000+00:00", "n": "1.50", "b": "/w==", "d": "2024-01-02"}}]


def test_the_text_of_an_origin_is_that_of_its_description() -> None:
    rows = [2, 0]
    first, second = (origin.attach(CUSTOMERS, name, key=["id"]) for name in ("a", "b"))
    for batch in (
        first,
        origin.attach(CUSTOMERS, 'the "b"', key=["name"]),
        origin.attach(CUSTOMERS, "c", key=["name", "id"]),
        origin.attach(CUSTOMERS, "d.parquet", first_row=7),
        origin.attach(CUSTOMERS, "e.csv", lines=pa.array([3, 5, 9])),
        pa.concat_batches(origin.alike([first, second, origin.attach(CUSTOMERS, "f", first_row=0)])),
        MESSAGES,
        pa.concat_batches(origin.alike([first, MESSAGES])),
        CUSTOMERS,
    ):
        assert origin.json_origins(batch, rows).to_pylist() == [orjson.dumps(one).decode() for one in origin.describe(batch, rows)]


def test_rows_without_an_origin_are_described_by_nothing() -> None:
    assert origin.describe(CUSTOMERS, [0, 1]) == [{}, {}]


def test_reserved_names_are_refused() -> None:
    with pytest.raises(PlanError, match=r"'__bp_x'.*rename"):
        origin.attach(pa.record_batch({"__bp_x": [1]}), "t", first_row=0)
    with pytest.raises(PlanError, match="'__bp_key', '__bp_source'"):
        origin.attach(origin.attach(CUSTOMERS, "t", key=["id"]), "t", first_row=0)
    origin.refuse_reserved(["a", "_bp_", "x__bp_"])


@pytest.mark.parametrize("choice", [{}, {"key": ["id"], "first_row": 0}, {"first_row": 0, "lines": pa.array([1, 2])}])
def test_an_origin_is_a_key_a_position_or_a_line(choice: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected key columns, a first row or lines"):
        origin.attach(CUSTOMERS, "t", **choice)  # type: ignore[arg-type]


def test_rows_of_text_are_told_by_their_line() -> None:
    batch = origin.attach(CUSTOMERS, "a.csv", lines=pa.array(range(2, 2 + CUSTOMERS.num_rows), pa.int64()))
    assert origin.describe(batch, [1]) == [{"source": "a.csv", "line": 3}]
    assert len(set(origin.hashes(batch).tolist())) == CUSTOMERS.num_rows
    other = origin.attach(CUSTOMERS, "t", key=["id"])
    mixed = pa.concat_batches(origin.alike([batch, other]))
    assert origin.describe(mixed, [0, CUSTOMERS.num_rows])[0] == {"source": "a.csv", "line": 2}
    assert origin.hashes(mixed)[: batch.num_rows].tolist() == origin.hashes(batch).tolist()


def test_messages_are_told_by_partition_and_offset_and_nobody_is_told_their_time() -> None:
    hidden = ["__bp_source", "__bp_partition", "__bp_offset", "__bp_time", "__bp_behind"]
    assert MESSAGES.schema.names == ["id", "name", *hidden]
    assert [MESSAGES.schema.field(name).type for name in hidden[1:]] == [pa.int32(), pa.int64(), pa.int64(), pa.int64()]
    assert origin.describe(MESSAGES, [1, 2]) == [
        {"source": "user-events", "partition": 3, "offset": 991},
        {"source": "user-events", "partition": 3, "offset": 994},
    ]
    assert origin.visible(MESSAGES).equals(CUSTOMERS)
    dead = origin.attach_offsets(CUSTOMERS, "user-events", 3, OFFSETS)
    assert dead.schema.names == ["id", "name", *hidden[:3]]
    assert origin.describe(dead, [0]) == [{"source": "user-events", "partition": 3, "offset": 990}]


def test_messages_are_told_apart_by_topic_partition_and_offset_alone() -> None:
    others = [
        origin.attach_offsets(CUSTOMERS, "user-events", 4, OFFSETS, TIMES, TIMES),
        origin.attach_offsets(CUSTOMERS, "clicks", 3, OFFSETS, TIMES, TIMES),
    ]
    found = [value for batch in (MESSAGES, *others) for value in origin.hashes(batch).tolist()]
    assert len(set(found)) == 9
    later = origin.attach_offsets(CUSTOMERS.slice(1), "user-events", 3, OFFSETS.slice(1))
    assert origin.hashes(later).tolist() == found[1:3]


def test_messages_fit_into_one_batch_with_rows_of_a_table() -> None:
    table = origin.attach(CUSTOMERS, "customers", key=["id"])
    mixed = pa.concat_batches(origin.alike([MESSAGES, table]))
    mixed.validate(full=True)
    assert origin.describe(mixed, [2, 3]) == [
        {"source": "user-events", "partition": 3, "offset": 994},
        {"source": "customers", "key": {"id": 17}},
    ]
    assert origin.hashes(mixed).tolist() == [*origin.hashes(MESSAGES).tolist(), *origin.hashes(table).tolist()]
    assert mixed.column("__bp_time").to_pylist() == [5_000, 7_000, 6_000, None, None, None]


def test_visible_and_hidden_are_the_two_halves() -> None:
    batch = origin.with_load(origin.attach(CUSTOMERS, "customers", key=["id"]), "warehouse.customers")

    assert origin.visible(batch).equals(CUSTOMERS)
    assert origin.visible(CUSTOMERS) is CUSTOMERS
    assert origin.names(batch.schema) == ["id", "name"]
    found = origin.hidden(batch)
    assert found is not None
    assert found.schema.names == ["__bp_source", "__bp_key"]
    assert origin.hidden(CUSTOMERS) is None
    assert origin.load_of(origin.visible(batch)) == "warehouse.customers"


def test_the_visible_schema_keeps_the_users_metadata_only() -> None:
    batch = origin.with_load(origin.attach(CUSTOMERS.replace_schema_metadata({"owner": "crm"}), "t", first_row=0), "load")

    schema = origin.visible_schema(batch.schema)

    assert schema.equals(CUSTOMERS.schema)
    assert schema.metadata == {b"owner": b"crm"}


def test_carry_gives_rows_their_origin_and_load_by_position() -> None:
    like = origin.with_load(origin.attach(CUSTOMERS, "customers", key=["id"]), "load")
    made = pa.record_batch({"upper": ["A", "B", "C"], "__bp_row": [0, 0, 0]}).replace_schema_metadata({"made": "yes"})

    result = origin.carry(like, made)

    assert result.schema.names == ["upper", "__bp_source", "__bp_key"]
    assert result.schema.metadata == {b"made": b"yes", b"bp:load": b"load"}
    assert origin.describe(result, [1]) == [{"source": "customers", "key": {"id": 18}}]


def test_carry_refuses_another_number_of_rows() -> None:
    with pytest.raises(ValueError, match=r"as many rows .*\(3\), got 2"):
        origin.carry(CUSTOMERS, CUSTOMERS.slice(1))


def test_the_load_is_a_label_of_the_batch() -> None:
    assert origin.load_of(CUSTOMERS) == ""
    labelled = origin.with_load(origin.with_load(CUSTOMERS, "a"), "größe")
    assert origin.load_of(labelled) == "größe"
    assert origin.load_of(labelled.slice(1)) == "größe"


def test_rows_of_several_sources_in_one_batch_are_told_apart_as_by_themselves() -> None:
    batch = pa.record_batch({"id": [1, 2], "text": ["1", "2"]})
    given = [
        origin.attach(batch, "a", key=["id"]),
        origin.attach(batch, "b", key=["text"]),
        origin.attach(batch, "c", key=["id", "text"]),
        origin.attach(batch, "d.csv", first_row=7),
        origin.attach(batch, "e", key=["id"]),
    ]
    given = [origin.with_load(one, "target") for one in given]
    apart = [place for one in given for place in origin.describe(one, [0, 1])]
    hashes = [value for one in given for value in origin.hashes(one).tolist()]
    assert len(set(hashes)) == 10
    # Also of what was put together before.
    first, second = (pa.concat_batches(origin.alike(some)) for some in (given[:3], given[3:]))
    for together in (pa.concat_batches(origin.alike(given)), pa.concat_batches(origin.alike([first, second]))):
        together.validate(full=True)
        assert origin.describe(together, range(10)) == apart
        assert origin.hashes(together).tolist() == hashes
        assert (origin.visible(together).schema.names, origin.load_of(together)) == (["id", "text"], "target")
    assert origin.alike([given[0], given[0]])[0] is given[0]
