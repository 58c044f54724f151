"""Other sinks of a stream and what they refuse: an API and a table get what commits have kept, and dead letters what they will not take."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import ipc
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.letters import Archive
from beam_pipelines.engine.live.plan import check_live
from beam_pipelines.engine.sinks.bring import bring
from beam_pipelines.engine.sinks.every import sinks_of
from beam_pipelines.engine.sinks.place import key_of
from beam_pipelines.engine.sinks.sink import Sink
from beam_pipelines.engine.sinks.table import TableSink
from beam_pipelines.errors import FatalError, PlanError, TransientError
from beam_pipelines.io.connector import Kept, LedgerRow, Left
from beam_pipelines.io.http import client
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.facts import PENDING
from beam_pipelines.runs.window import Window
from beam_pipelines.spec import parse
from beam_pipelines.state.record import Execution
from beam_pipelines.state.store import StateStore
from beam_pipelines.testing.api import Api, Reply, serving

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)
SESSION, RUN, NEXT = "00000000000a", "00000000000b", "00000000000c"
KEY = "s3cret-k3y"


class DeathError(Exception):
    """The process died."""


@dataclass
class Ledger:
    """A target as far as sinks see it."""

    sinks: Callable[[], Sequence[Sink]]  # that the stream has now
    blocks: dict[str, list[Kept]] = field(default_factory=dict)
    dies: bool = False  # before the next note

    def keep(self, run: str, *batches: pa.RecordBatch) -> None:
        texts = [base64.b64encode(ipc.encode(batch)).decode() for batch in batches]
        self.blocks.setdefault(PENDING, []).extend(Kept(run, part, text) for part, text in enumerate(texts))
        for sink in self.sinks():
            self.blocks.setdefault(sink.note, []).append(Kept(run, 0, f"{sink.id} {sink.what}"))

    def kept(self, service: str, load: str, kind: str, known: Collection[tuple[str, int]] = ()) -> list[Kept]:
        return list(self.blocks.get(kind, ()))

    def left(self, service: str, load: str) -> list[Left]:
        counts = Counter((one.run, kind) for kind, blocks in self.blocks.items() for one in blocks)
        return [Left(run, kind, parts) for (run, kind), parts in counts.items()]

    def kept_block(self, service: str, load: str, kind: str, run: str, part: int) -> str:
        (found,) = (one.content for one in self.blocks[kind] if (one.run, one.part) == (run, part))
        return found

    def forget_kept(self, service: str, load: str, kind: str, run: str) -> None:
        self._die()
        self.blocks[kind] = [one for one in self.blocks.get(kind, ()) if one.run != run]

    def row(self, service: str, load: str, run: str) -> LedgerRow:
        return LedgerRow(
            run, load, "committed", Window(service, load, load, run, generation=0, session=SESSION), None, AT.isoformat(), AT.isoformat()
        )

    @property
    def waiting(self) -> list[str]:
        return list(dict.fromkeys(one.run for one in self.blocks[PENDING]))

    def _die(self) -> None:
        if self.dies:
            self.dies = False
            raise DeathError


@dataclass
class World:
    """A stream that has committed to nothing, with other sinks."""

    folder: Path
    store: StateStore
    ledger: Ledger
    archive: Archive
    sinks: list[dict[str, Any]]

    @property
    def job(self) -> Job:
        others = [{"type": "database", "connection": "db", "table": "results"}, *self.sinks]
        definition = {"name": "S", "stream": {"source": {"type": "kafka", "topic": "t"}, "sinks": others}}
        return Job.of(parse(definition).definition, self.folder)

    @property
    def context(self) -> RunContext:
        return RunContext(RUN, AT.isoformat(), connections=str(self.folder / "connections.yaml"), folder=str(self.folder))

    def bring(self) -> None:
        bring(self.job, self.context, self.ledger, "load", self.store, self.archive)  # type: ignore[arg-type]

    def letters(self, run: str = RUN, sink: str = "sinks[1]") -> list[dict[str, Any]]:
        path = self.archive.path(self.job.service, run, sink)
        return list(self.archive.read(path)) if path.exists() else []

    def index(self) -> list[tuple[str | None, str, str, int]]:
        return [(one.drain, one.step, one.code, one.count) for one in self.store.failed_records("s", SESSION)]


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(lambda asked: Reply(200)) as served:
        yield served


@pytest.fixture
def world(tmp_path: Path, api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("API_KEY", KEY)
    monkeypatch.setattr(client, "_BACK_OFF", lambda state: 0.001)
    (tmp_path / "connections.yaml").write_text(json.dumps({"db": "sqlite:///other.db"}))
    api_sink = {"type": "api", "endpoint": f"{api.url}/rows?tenant=t9", "apiKey": "${env:API_KEY}", "batchSize": 2}
    with StateStore(f"sqlite:///{tmp_path / 'state.db'}") as store:
        store.begin(Execution("s", SESSION, AT, kind="stream"))
        made = World(tmp_path, store, Ledger(lambda: sinks_of(made.job)), Archive(tmp_path / "letters"), [api_sink])
        yield made


def rows(first: int, last: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"id": number, "note": f"n{number}"} for number in range(first, last + 1)])


def got(api: Api) -> dict[str, list[int]]:
    """Ids by key; the same key never comes with another body."""
    found: dict[str, list[int]] = {}
    for asked in api.asked:
        ids = [row["id"] for row in asked.body]
        assert found.setdefault(asked.headers["idempotency-key"], ids) == ids
    return found


def test_rows_of_each_commit_are_posted_once_in_requests_of_their_own(world: World, api: Api) -> None:
    world.ledger.keep(RUN, rows(0, 2), rows(3, 4))
    world.ledger.keep(NEXT, rows(5, 5))
    world.bring()
    world.bring()
    assert sorted(got(api).values()) == [[0, 1], [2, 3], [4], [5]]
    assert len(api.asked) == 4
    assert {asked.target for asked in api.asked} == {"/rows?tenant=t9"}
    assert {asked.headers["authorization"] for asked in api.asked} == {f"Bearer {KEY}"}
    assert (world.ledger.waiting, world.index()) == ([], [])


def test_who_dies_between_the_post_and_the_note_sends_the_same_again(world: World, api: Api) -> None:
    world.ledger.keep(RUN, rows(0, 4))
    world.ledger.dies = True
    with pytest.raises(DeathError):
        world.bring()
    first = got(api)
    assert world.ledger.waiting == [RUN]
    world.bring()
    assert len(api.asked) == 6
    assert got(api) == first
    assert world.ledger.waiting == []


@pytest.mark.parametrize("reply", [Reply(500), Reply(429, headers={"Retry-After": "3600"}), Reply(503, headers={"Retry-After": "3600"})])
def test_an_api_that_is_ill_gets_the_rows_later(world: World, api: Api, reply: Reply) -> None:
    world.ledger.keep(RUN, rows(0, 4))
    api.answer = lambda asked: reply if asked.body[0]["id"] == 2 else Reply(200)
    with pytest.raises(TransientError, match=r"the API at 127.0.0.1:\d+ \(sinks\[1\]\): the server answered"):
        world.bring()
    assert (world.ledger.waiting, world.letters(), world.index()) == ([RUN], [], [])
    api.answer = lambda asked: Reply(200)
    world.bring()
    assert sorted(got(api).values()) == [[0, 1], [2, 3], [4]]
    assert world.ledger.waiting == []


def test_an_api_that_is_away_gets_the_rows_later(world: World, api: Api) -> None:
    world.ledger.keep(RUN, rows(0, 4))
    api.close()
    with pytest.raises(TransientError, match="could not be asked"):
        world.bring()
    assert world.ledger.waiting == [RUN]
    assert api.asked == []


def test_401_stops_the_stream_and_shows_no_key(world: World, api: Api) -> None:
    world.ledger.keep(RUN, rows(0, 4))
    api.answer = lambda asked: Reply(401)
    with pytest.raises(FatalError) as caught:
        world.bring()
    assert caught.value.code == "authentication-failed"
    assert KEY not in str(caught.value)
    assert world.ledger.waiting == [RUN]


def test_a_request_that_is_refused_for_good_stops_the_stream_and_its_rows_wait(world: World, api: Api) -> None:
    world.ledger.keep(RUN, rows(0, 4))
    api.answer = lambda asked: Reply(422) if asked.body[0]["id"] == 2 else Reply(200)
    with pytest.raises(
        FatalError, match=rf"\(sinks\[1\]\) refuses rows 3 to 4 of commit {RUN}: the server answered 422; .* continue"
    ) as caught:
        world.bring()
    assert caught.value.code == "target-refused"
    assert not {"n2", "tenant", "/rows"} & set(str(caught.value).split())
    assert "t9" not in str(caught.value)
    assert (world.ledger.waiting, world.letters()) == ([RUN], [])


def test_with_continue_the_rows_of_a_refused_request_are_dead_letters_once(world: World, api: Api) -> None:
    world.sinks[0]["errorHandling"] = "continue"
    world.ledger.keep(RUN, rows(0, 2), rows(3, 4))
    api.answer = lambda asked: Reply(422) if asked.body[0]["id"] == 2 else Reply(200)
    world.ledger.dies = True
    with pytest.raises(DeathError):
        world.bring()
    world.bring()
    letters = world.letters()
    assert [letter["record"] for letter in letters] == [{"id": 2, "note": "n2"}, {"id": 3, "note": "n3"}]
    assert [letter["origin"] for letter in letters] == [{"commit": RUN, "row": 2}, {"commit": RUN, "row": 3}]
    (told,) = {(letter["runId"], letter["step"], letter["code"], letter["error"].partition(": ")[2]) for letter in letters}
    assert told == (RUN, "sinks[1]", "target-refused", "the server answered 422")
    assert world.index() == [(RUN, "sinks[1]", "target-refused", 2)]
    assert world.ledger.waiting == []


def test_a_request_refused_beside_one_that_may_pass_is_told_when_all_were_sent(world: World, api: Api) -> None:
    world.sinks[0]["errorHandling"] = "continue"
    world.ledger.keep(RUN, rows(0, 9))
    api.answer = lambda asked: Reply({0: 400, 8: 503}.get(asked.body[0]["id"], 200))
    with pytest.raises(TransientError):
        world.bring()
    assert (world.letters(), world.index()) == ([], [])
    assert list((world.folder / "letters").rglob("*.part")) == []
    api.answer = lambda asked: Reply({0: 400}.get(asked.body[0]["id"], 200))
    world.bring()
    assert [letter["record"]["id"] for letter in world.letters()] == [0, 1]


def test_an_api_that_is_elsewhere_stops_the_stream_even_with_continue(world: World, api: Api) -> None:
    world.sinks[0]["errorHandling"] = "continue"
    world.ledger.keep(RUN, rows(0, 4))
    api.answer = lambda asked: Reply(301, headers={"Location": "https://elsewhere.example/"})
    with pytest.raises(FatalError, match="another host"):
        world.bring()
    assert (world.ledger.waiting, world.letters()) == ([RUN], [])


def test_each_of_two_apis_gets_each_commit_and_one_that_is_away_keeps_nothing_from_the_other(world: World, api: Api) -> None:
    world.sinks.append({**world.sinks[0], "endpoint": f"{api.url}/more"})
    world.ledger.keep(RUN, rows(0, 1))
    api.answer = lambda asked: Reply(500 if asked.target == "/more" else 200)
    with pytest.raises(TransientError):
        world.bring()
    api.answer = lambda asked: Reply(200)
    world.bring()
    assert [asked.target for asked in api.asked].count("/rows?tenant=t9") == 1
    assert len(got(api)) == 2  # the same rows under two keys: they are two sinks


def tables(world: World, *names: str) -> None:
    world.sinks[:] = [{"type": "database", "connection": "db", "table": name, "errorHandling": "continue"} for name in names]


def ids_in(world: World, *names: str) -> list[list[int]]:
    with contextlib.closing(sqlite3.connect(world.folder / "other.db")) as connection:
        return [[row[0] for row in connection.execute(f"SELECT id FROM {name} ORDER BY id")] for name in names]


def dies_at(patched: pytest.MonkeyPatch, table: str) -> None:
    write = TableSink.write

    def writing(sink: TableSink, *arguments: Any) -> int:
        if sink.model.table == table:
            raise DeathError
        return write(sink, *arguments)

    patched.setattr(TableSink, "write", writing)


@pytest.mark.parametrize("now", [("b", "a"), ("c", "b", "a"), ("c", "a", "b")])
def test_sinks_that_change_places_get_each_commit_once(world: World, monkeypatch: pytest.MonkeyPatch, now: tuple[str, ...]) -> None:
    tables(world, "a", "b")
    world.ledger.keep(RUN, rows(0, 4))
    with monkeypatch.context() as patched:
        dies_at(patched, "b")
        with pytest.raises(DeathError):
            world.bring()
    tables(world, *now)
    world.ledger.keep(NEXT, rows(5, 6))
    world.bring()
    assert ids_in(world, "a", "b") == [list(range(7))] * 2
    if "c" in now:
        assert ids_in(world, "c") == [[5, 6]]  # it is there since the second commit
    assert not any(world.ledger.blocks.values())


def test_letters_of_a_sink_are_not_written_over_by_one_that_stands_in_its_place_now(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(sqlite3.connect(world.folder / "other.db")) as connection:
        for name, refused in (("a", 1), ("b", 2)):
            connection.execute(f"CREATE TABLE {name} (id INTEGER CHECK (id <> {refused}), note TEXT)")
    tables(world, "a", "b")
    world.ledger.keep(RUN, rows(0, 4))
    with monkeypatch.context() as patched:
        dies_at(patched, "b")
        with pytest.raises(DeathError):
            world.bring()
    tables(world, "b", "a")
    world.bring()
    assert ids_in(world, "a", "b") == [[0, 2, 3, 4], [0, 1, 3, 4]]
    assert [[letter["record"]["id"] for letter in world.letters(sink=sink)] for sink in ("sinks[1]", "sinks[2]")] == [[1], [2]]
    assert sorted(world.index()) == [(RUN, "sinks[1]", "target-refused", 1), (RUN, "sinks[2]", "target-refused", 1)]


@pytest.mark.parametrize("now", [(), ("a",), ("a", "c")])
def test_rows_that_are_kept_for_a_sink_that_is_gone_are_not_dropped_unsaid(
    world: World, monkeypatch: pytest.MonkeyPatch, now: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    tables(world, "a", "b")
    world.ledger.keep(RUN, rows(0, 4))
    world.ledger.keep(NEXT, rows(5, 6))
    with monkeypatch.context() as patched:
        dies_at(patched, "b")
        with pytest.raises(DeathError):
            world.bring()
    tables(world, *now)
    before = {kind: list(blocks) for kind, blocks in world.ledger.blocks.items()}
    with pytest.raises(PlanError, match=r"sinks\[2\] 'b', of 2 commits.*--keep-watermark") as caught:
        world.bring()
    assert caught.value.code == "fingerprint-changed"
    assert world.ledger.blocks == before
    tables(world, "b", "a")  # put back
    world.ledger.dies = True
    with pytest.raises(DeathError):
        world.bring()
    tables(world, *now)
    bring(world.job, replace(world.context, keep_watermark=True), world.ledger, "load", world.store, world.archive)  # type: ignore[arg-type]
    assert "gives up" in caplog.text
    assert not any(world.ledger.blocks.values())
    assert ids_in(world, "b") == [[0, 1, 2, 3, 4]]
    if now:
        assert ids_in(world, "a") == [list(range(7))]


def test_blocks_are_read_one_after_the_other(world: World, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    world.sinks[0]["batchSize"] = 1
    world.ledger.keep(RUN, *(rows(number, number) for number in range(40)))
    ahead = list[int]()
    read = Ledger.kept_block

    def reading(ledger: Ledger, *of: Any) -> str:
        ahead.append(of[-1] - len(api.asked))
        return read(ledger, *of)

    monkeypatch.setattr(Ledger, "kept_block", reading)
    world.bring()
    assert sorted(ids[0] for ids in got(api).values()) == list(range(40))
    assert (len(ahead), max(ahead) < 20) == (40, True)


@pytest.mark.parametrize(
    "twice",
    [
        {"type": "database", "connection": "db", "table": "results", "mode": "upsert"},
        {"type": "data-warehouse", "connection": "db", "table": "results"},
    ],
)
def test_two_sinks_that_are_one_place_are_refused(world: World, twice: dict[str, Any]) -> None:
    world.sinks.append(twice)
    with pytest.raises(PlanError) as caught:
        check_live(world.job, world.context)
    ((problem),) = caught.value.problems
    assert (caught.value.code, problem.path) == ("mode-refused", "stream.sinks[2]")
    assert "sinks[0]" in problem.message


def test_which_place_a_sink_is() -> None:
    """What has the same letter is the same place."""
    table = {"type": "database", "connection": "db", "table": "a"}
    models = [
        ("a", table),
        ("a", {**table, "mode": "upsert", "keyFields": ["id"], "batchSize": 7, "errorHandling": "continue"}),
        ("b", {**table, "table": "b"}),
        ("c", {**table, "connection": "other"}),
        ("d", {"type": "kafka", "topic": "a"}),
        ("d", {"type": "kafka", "topic": "a", "connection": "kafka", "key": ["id"]}),
        ("e", {"type": "kafka", "topic": "a", "connection": "db"}),
        ("f", {"type": "file", "path": "out/a"}),
        ("f", {"type": "file", "path": "./out//a/", "format": "csv"}),
        ("g", {"type": "file", "path": "out/b"}),
        ("h", {"type": "file", "path": "s3://out/a", "format": "csv"}),
        ("i", {"type": "s3", "bucket": "out", "prefix": "a/", "format": "csv"}),
        ("j", {"type": "s3", "bucket": "out", "prefix": "b/", "format": "csv"}),
        ("k", {"type": "api", "endpoint": "https://h/a"}),
        ("k", {"type": "api", "endpoint": "https://h/a", "batchSize": 3}),
        ("l", {"type": "api", "endpoint": "https://h/b"}),
    ]
    definition = {"name": "S", "stream": {"source": {"type": "kafka", "topic": "t"}, "sinks": [model for _, model in models]}}
    keys = [key_of(model) for model in parse(definition).definition.destinations]
    assert len({*keys}) == len({letter for letter, _ in models}) == len({*zip(keys, (letter for letter, _ in models), strict=True)})
    assert keys[0] == hashlib.sha256(b'["table", "db", "a"]').hexdigest()[:12]  # ledgers hold it


def test_a_plan_asks_nothing_and_says_what_is_promised(world: World, api: Api) -> None:
    (sink,) = sinks_of(world.job)
    sink.check(world.job, world.context)
    assert api.asked == []
    assert sink.repeats
    assert "Idempotency-Key" in sink.promise
    assert sink.line == f"post to the API at {api.url.removeprefix('http://')} (sinks[1]), 2 rows a request at most, after the commit"


@pytest.mark.parametrize(
    ("change", "code", "path", "said"),
    [
        ({"apiKey": "${env:NOT_THERE}"}, "secret-missing", "stream.sinks[1].apiKey", "NOT_THERE"),
        ({"apiKey": "${file:none.txt}"}, "secret-missing", "stream.sinks[1].apiKey", "none.txt"),
        ({"endpoint": "http://host:99999/x"}, "connection-invalid", "stream.sinks[1].endpoint", "port"),
    ],
)
def test_a_plan_says_which_key_cannot_be_used(world: World, change: dict[str, str], code: str, path: str, said: str) -> None:
    world.sinks[0] |= change
    (sink,) = sinks_of(world.job)
    with pytest.raises(PlanError) as caught:
        sink.check(world.job, world.context)
    ((problem, found),) = [(problem, problem.path) for problem in caught.value.problems]
    assert (caught.value.code, found) == (code, path)
    assert said in problem.message
    assert "connection" not in problem.message


def table(world: World) -> list[tuple[Any, ...]]:
    with sqlite3.connect(world.folder / "other.db") as connection:
        found = connection.execute("SELECT id, note FROM notes ORDER BY id").fetchall()
    connection.close()
    return found


@pytest.fixture
def noted(world: World) -> World:
    """A world whose other sink is a table that takes no note a second time, nor one of 3."""
    world.sinks[:] = [{"type": "database", "connection": "db", "table": "notes", "errorHandling": "continue"}]
    with sqlite3.connect(world.folder / "other.db") as connection:
        connection.execute("CREATE TABLE notes (id INTEGER NOT NULL, note TEXT UNIQUE CHECK (note <> 'n3'))")
    connection.close()
    return world


def test_rows_that_a_table_refuses_are_dead_letters(noted: World) -> None:
    noted.ledger.keep(RUN, rows(0, 4))
    noted.bring()
    assert table(noted) == [(0, "n0"), (1, "n1"), (2, "n2"), (4, "n4")]
    (letter,) = noted.letters()
    assert (letter["record"], letter["step"], letter["code"]) == ({"id": 3, "note": "n3"}, "sinks[1]", "target-refused")
    assert noted.index() == [(RUN, "sinks[1]", "target-refused", 1)]


@pytest.mark.parametrize("handling", ["continue", "stop"])
def test_rows_that_a_table_cannot_keep_are_dead_letters_whatever_is_to_happen_to_those_it_refuses(noted: World, handling: str) -> None:
    noted.sinks[0]["errorHandling"] = handling
    with sqlite3.connect(noted.folder / "other.db") as connection:
        connection.execute("ALTER TABLE notes ADD COLUMN ratio DOUBLE")
    connection.close()
    ratios = [0.5, float("nan"), 1.5]
    noted.ledger.keep(RUN, rows(0, 1).append_column("ratio", pa.array(ratios[:2])), rows(2, 2).append_column("ratio", pa.array(ratios[2:])))
    noted.bring()
    assert [row[0] for row in table(noted)] == [0, 2]
    (letter,) = noted.letters()
    assert (letter["record"], letter["origin"]) == ({"id": 1, "note": "n1", "ratio": "NaN"}, {"commit": RUN, "row": 1})
    assert noted.index() == [(RUN, "sinks[1]", letter["code"], 1)]


def test_rows_that_do_not_fit_the_columns_of_a_table_are_dead_letters(noted: World) -> None:
    noted.ledger.keep(RUN, rows(0, 1), pa.RecordBatch.from_pylist([{"id": None, "note": "n9"}], rows(0, 0).schema), rows(5, 5))
    noted.bring()
    assert [row[0] for row in table(noted)] == [0, 1, 5]
    (letter,) = noted.letters()
    assert letter["record"] == {"id": None, "note": "n9"}


def test_who_dies_behind_the_commit_of_a_table_writes_its_letters_at_the_next_start(noted: World, monkeypatch: pytest.MonkeyPatch) -> None:
    noted.ledger.keep(RUN, rows(0, 4))

    def died(*_: Any) -> None:
        raise DeathError

    with monkeypatch.context() as patched:
        patched.setattr("beam_pipelines.engine.sinks.table._told", died)
        with pytest.raises(DeathError):
            noted.bring()
    assert (len(table(noted)), noted.letters()) == (4, [])
    noted.bring()
    assert len(table(noted)) == 4
    assert [letter["record"]["id"] for letter in noted.letters()] == [3]
    assert noted.index() == [(RUN, "sinks[1]", "target-refused", 1)]


def test_with_stop_a_table_that_refuses_rows_ends_the_stream_and_they_wait(noted: World) -> None:
    noted.sinks[0]["errorHandling"] = "stop"
    noted.ledger.keep(RUN, rows(0, 4))
    with pytest.raises(FatalError, match=r"'notes' \(sinks\[1\]\)") as caught:
        noted.bring()
    assert caught.value.code == "target-refused"
    assert (table(noted), noted.ledger.waiting, noted.letters()) == ([], [RUN], [])


def test_a_table_that_refused_rows_gets_them_once_it_is_mended(noted: World) -> None:
    noted.sinks[0]["errorHandling"] = "stop"
    noted.ledger.keep(RUN, rows(0, 4))
    for _ in range(2):  # what the ledger has of a try that failed is not what the next one says
        with pytest.raises(FatalError, match="CHECK"):
            noted.bring()
    with sqlite3.connect(noted.folder / "other.db") as connection:
        connection.execute("DROP TABLE notes")
        connection.execute("CREATE TABLE notes (id INTEGER NOT NULL, note TEXT)")
    connection.close()
    noted.ledger.dies = True
    with pytest.raises(DeathError):  # behind the commit, before it is noted
        noted.bring()
    noted.bring()
    assert [row[0] for row in table(noted)] == [0, 1, 2, 3, 4]
    assert (noted.ledger.waiting, noted.letters()) == ([], [])


def test_dead_letters_that_are_refused_again_are_counted_once_and_alert_once(world: World, api: Api) -> None:
    world.sinks[0] |= {"errorHandling": "continue", "batchSize": 500}
    api.answer = lambda asked: Reply(400)
    world.ledger.keep(RUN, rows(0, 149))
    world.ledger.dies = True
    with pytest.raises(DeathError):
        world.bring()
    world.bring()
    assert world.index() == [(RUN, "sinks[1]", "target-refused", 150)]
    assert [alert.failures for alert in world.store.alerts("s")] == [150]


def test_asked_is_the_same_for_blocks_that_are_read_again(world: World, api: Api) -> None:
    """Whatever type a column has, its text is the same each time."""
    batch = pa.record_batch(
        {
            "id": pa.array([1, 2]),
            "at": pa.array([1_700_000_000_000, None], pa.timestamp("ms", "UTC")),
            "ratio": pa.array([0.1, float("nan")]),
            "kind": pa.array(["a", "b"]).dictionary_encode(),
        }
    )
    world.ledger.keep(RUN, batch)
    world.ledger.dies = True
    with pytest.raises(DeathError):
        world.bring()
    world.bring()
    one, two = api.asked
    assert (
        one.body
        == two.body
        == [
            {"id": 1, "at": "2023-11-14T22:13:20.000+00:00", "ratio": 0.1, "kind": "a"},
            {"id": 2, "at": None, "ratio": "NaN", "kind": "b"},
        ]
    )
    assert one.headers["idempotency-key"] == two.headers["idempotency-key"]


def test_a_few_requests_are_under_way_at_a_time(world: World, api: Api) -> None:
    world.sinks[0]["batchSize"] = 1
    world.ledger.keep(RUN, rows(0, 39))
    together = threading.Barrier(4)
    api.answer = lambda asked: Reply(200 if together.wait(10) is not None else 500)
    world.bring()
    assert sorted(ids[0] for ids in got(api).values()) == list(range(40))
    assert api.most == 4
