"""`beam-pipelines connections test`: does each connection answer? Never shows a secret."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_pipelines.cli.arguments import Parser, add_format, add_log
from beam_pipelines.cli.session import Session
from beam_pipelines.cli.store import find_definition, is_definition
from beam_pipelines.cli.table import Table
from beam_pipelines.errors import BeamPipelinesError

if TYPE_CHECKING:
    from beam_pipelines.io.connections import Connection, Connections

__all__ = ["add"]

_DEFAULT = Path("connections.yaml")
_PATIENCE = 10.0  # seconds that brokers may take to answer


def add(commands: Any) -> None:
    """Add the command."""
    parser: Parser = commands.add_parser("connections", help="test connections")
    which = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    test: Parser = which.add_parser("test", help="connect, and say what answered; exit 1 if one does not")
    test.add_argument(
        "what",
        metavar="FILE|NAME",
        nargs="?",
        help="a definition (its source and destination), a connections file (all in it), or the name of a connection;"
        " default: the definition, else the connections file, of the working directory",
    )
    test.add_argument("--connections", metavar="FILE", help="default: connections.yaml beside the definition, or in the working directory")
    add_format(test)
    add_log(test)
    test.set_defaults(handler=_test, parser=test)


@dataclass(frozen=True)
class _Answer:
    """What came of one test."""

    name: str
    role: str
    where: str
    ok: bool
    said: str
    code: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"connection": self.name, "role": self.role, "where": self.where, "ok": self.ok, "said": self.said, "errorCode": self.code}


@dataclass(frozen=True)
class _Probe:
    """One test to make.

    Args:
        name: Of the connection, or what stands for it.
        role: `source`, `destination`, or empty.
        where: Without secrets.
        check: Connects, and says what answered.
    """

    name: str
    role: str
    where: str
    check: Callable[[], str]

    def answer(self, redact: Callable[[str], str]) -> _Answer:
        try:
            return _Answer(self.name, self.role, self.where, True, redact(self.check()))
        except BeamPipelinesError as error:
            return _Answer(self.name, self.role, self.where, False, redact(str(error)), error.code)


def _test(arguments: argparse.Namespace, session: Session) -> int:
    answers = [probe.answer(session.redact) for probe in _probes(arguments, session)]
    if session.out.as_json:
        session.out.json([one.to_json() for one in answers])
    else:
        rows = [
            ["OK" if one.ok else "failed", one.name, one.role, one.where, one.said if one.ok else f"{one.said} [{one.code}]"]
            for one in answers
        ]
        session.out.table(Table(["", "connection", "role", "where", "said"], rows))
    return 0 if all(one.ok for one in answers) else 1


def _probes(arguments: argparse.Namespace, session: Session) -> Iterator[_Probe]:
    what = arguments.what
    path = Path(what) if what is not None else None
    if path is None and not _DEFAULT.exists():
        path = find_definition("a definition, a connections file or the name of a connection")
    elif path is None:
        path = _default()
    if path.is_file() and is_definition(path):
        return _of_definition(path, arguments.connections, session)
    from beam_pipelines.io.connections import Connections

    by_file = path.is_file() or path.suffix in (".yaml", ".yml", ".json")
    given = arguments.connections or (_DEFAULT if _DEFAULT.exists() else None)
    known = Connections(path if by_file else given)
    names = known.names() if by_file else [str(what)]
    session.redact.learn_connections(known, names)
    return (_of_connection(name, known) for name in names)


def _default() -> Path:
    """The one definition of the working directory, which knows which side each connection is for, else the connections file."""
    from beam_pipelines.cli.store import definitions_in

    found = definitions_in(Path())
    return found[0] if len(found) == 1 else _DEFAULT


def _of_definition(path: Path, connections: str | None, session: Session) -> Iterator[_Probe]:
    from beam_pipelines.io import registry
    from beam_pipelines.io.connections import Connections
    from beam_pipelines.spec.step import every_step

    service = session.load(path, connections)
    known = Connections(service.connections_file)
    by_file = service.definition.batch is not None

    def probe(role: str, model: Any, opened: Callable[..., Any]) -> _Probe:
        name = model.connection_name
        return _Probe(name or "files", role, _where_of(model, known), lambda: _checked(opened(model, known, service.folder), by_file))

    if service.definition.source is not None:
        yield probe("source", service.definition.source, registry.open_source)
    for step in every_step(service.definition.steps):
        if (side := getattr(step, "source", None)) is not None:
            yield probe(f"source of {step.id}", side, registry.open_source)
        if step.type == "enrich" and (name := getattr(step, "connection", None)):
            yield _Probe(name, f"API of {step.id}", _where(name, known), partial(_check_api, name, known))
    for model in service.definition.destinations:
        yield probe("destination", model, registry.open_target)
    for step in service.definition.steps:
        for kind in ("rejected", "violations"):
            if (output := getattr(step, kind, None)) is not None:
                yield probe(f"{kind} of {step.id}", output, registry.open_target)


def _where(name: str | None, known: Connections) -> str:
    if name is None:
        return ""
    try:
        return known.get(name).display
    except BeamPipelinesError:
        return ""


def _where_of(model: Any, known: Connections) -> str:
    """Where a source or destination is; a bucket that is no connection is the one of that name."""
    from beam_pipelines.io import registry

    try:
        connection = registry.connection_of(model, known)
    except BeamPipelinesError:
        return ""
    return connection.display if connection is not None else ""


def _of_connection(name: str, known: Connections) -> _Probe:
    return _Probe(name, "", _where(name, known), lambda: _check_connection(known.get(name), known))


def _check_connection(connection: Connection, known: Connections) -> str:
    """Test a connection that no definition gives a side: as what it can be without making anything."""
    from beam_pipelines.io import registry
    from beam_pipelines.spec import DatabaseDestination

    if connection.kind == "http" or (connection.kind == "url" and connection.system in ("http", "https")):
        return _check_api(connection.name, known)
    if connection.kind == "url":
        # A target of any system says what answers; it is neither written to nor made by that.
        return _checked(registry.open_target(DatabaseDestination(connection=connection.name, table="none"), known))
    if connection.kind == "bucket":
        from beam_pipelines.io.objects.place import store_of

        return store_of(connection).check()
    from beam_pipelines.io.kafka.consumer import Reader

    with contextlib.closing(Reader(connection, patience=_PATIENCE)) as reader:
        return f"Kafka, cluster {reader.cluster()}, {reader.topics()} topics"


def _check_api(name: str, known: Connections) -> str:
    from beam_pipelines.io.http.client import checked

    return checked(known.get(name))


def _checked(opened: Any, by_file: bool = False) -> str:
    """Say what answers. Of a batch a file that cannot be read costs itself alone, and says nothing of the place."""
    from beam_pipelines.io.files.whole import WholeFiles

    try:
        if by_file and isinstance(opened, WholeFiles):
            opened.choose_first()
        said = str(opened.check())
        broken = opened.broken if isinstance(opened, WholeFiles) else 0
        return f"{said}; {broken:,} of them cannot be read" if broken else said
    finally:
        opened.close()
