"""The expectations of a definition's tests, rewritten to what comes (`beam-pipelines test --fix`)."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from beam_pipelines.engine.cases.alignment import Pair, Place
from beam_pipelines.engine.cases.difference import Difference
from beam_pipelines.errors import SpecError
from beam_pipelines.spec import Expectation, loads
from beam_pipelines.spec.load import Loaded
from beam_pipelines.spec.position import KeyPath
from beam_pipelines.spec.rewrite import Change, Row, rewritten

if TYPE_CHECKING:
    from beam_pipelines.engine.cases.case import Verdict
    from beam_pipelines.etl.service import Service

__all__ = ["Fixed", "fix"]

_TOLD = ("code", "row")  # of a dead letter nobody asked about: its message may name a line of code


@dataclass(frozen=True)
class Fixed:
    """What came of rewriting.

    Args:
        verdicts: Of all tests that ran, after it.
        names: Tests whose expectations were rewritten.
    """

    verdicts: tuple[Verdict, ...]
    names: tuple[str, ...]


def fix(service: Service, verdicts: Sequence[Verdict]) -> Fixed:
    """Rewrite, in the definition's file, what tests expected and did not get.

    Tests that could not be carried out are left alone. All text but the values, rows and keys that differ stays as it is. The file is
    written only when the tests pass with what is written, and nothing else of the definition is changed by it.

    Args:
        service: Loaded from a file.
        verdicts: Of its tests.

    Raises:
        SpecError: The definition has no file, or one that cannot be written or was changed meanwhile, or an alias stands where something
            would be rewritten.
    """
    loaded = service.loaded
    if loaded is None or loaded.path is None:
        raise SpecError("expected a definition that was read from a file, to rewrite its tests there", code="option-invalid")
    failed = [verdict for verdict in verdicts if verdict.differences]
    changes = [change for verdict in failed for change in _changes(service, verdict)]
    if not changes:
        return Fixed(tuple(verdicts), ())
    is_json = loaded.is_json
    text = rewritten(loaded.text, loaded.name, changes, is_json=is_json)
    again = loads(text, loaded.name, path=loaded.path)
    _check_same(loaded, again)
    after = replace(service, definition=again.definition, loaded=again).test()
    names = [verdict.name for verdict in verdicts]
    wrong = [verdict.name for verdict in after if verdict.name in {one.name for one in failed} and not verdict.passed]
    if wrong:
        raise SpecError(
            f"what comes of {', '.join(map(repr, wrong))} differs from run to run, so nothing was written: give the test `now`, or let the"
            " steps give the same each time",
            code="option-invalid",
        )
    _write(loaded, text)
    return Fixed(tuple(verdict for verdict in after if verdict.name in names), tuple(verdict.name for verdict in failed))


def _check_same(before: Loaded, after: Loaded) -> None:
    """Make sure that only tests were touched: what is written here is the user's."""
    ours, theirs = (one.definition.model_dump(mode="json", exclude={"tests"}) for one in (before, after))
    if ours != theirs:
        raise AssertionError("rewriting tests would change the definition: nothing was written")


def _write(loaded: Loaded, text: str) -> None:
    """Write beside the file and rename: a reader sees one or the other."""
    assert loaded.path is not None
    path = loaded.path.resolve()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        there, mode = path.read_bytes(), path.stat().st_mode
        if not mode & stat.S_IWUSR:
            raise PermissionError(errno.EACCES, "the file is read-only")
        mark = codecs.BOM_UTF8 if there.startswith(codecs.BOM_UTF8) else b""
        if there.removeprefix(mark) != loaded.text.encode():
            raise SpecError(f"{loaded.name} was changed while its tests ran, so nothing was written: run them again", code="option-invalid")
        beside.write_bytes(mark + text.encode())
        beside.chmod(mode)
        beside.replace(path)
    except OSError as error:
        raise SpecError(f"expected to write {loaded.name}, got: {(error.strerror or str(error)).lower()}", code="option-invalid") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _changes(service: Service, verdict: Verdict) -> Iterator[Change]:
    position = [case.name for case in service.definition.tests].index(verdict.name)
    case = service.definition.tests[position]
    for difference in verdict.differences:
        whole = isinstance(case.expect[difference.step], Expectation)
        place: KeyPath = ("tests", position, "expect", difference.step, *([difference.what] if whole else []))
        if difference.what == "filtered":
            yield Change(place, value=difference.got[0][("",)])
        else:
            expectation = case.expectations[difference.step]
            raw = _raw(expectation, difference.what)
            exact = expectation.exact and difference.what == "rows"
            rows = tuple(_row(pair, difference, raw, exact=exact) for pair in difference.pairs if pair.got is not None)
            yield Change(place, rows=rows)


def _raw(expectation: Expectation, what: str) -> list[dict[Place, Any]]:
    """What is written of each row, by place."""
    if what == "rows":
        return [{(name,): value for name, value in row.items()} for row in expectation.rows or ()]
    return [
        {
            **{(key,): value for key, value in (("code", dead.code), ("message", dead.message)) if value is not None},
            **{("row", name): value for name, value in dead.row.items()},
        }
        for dead in expectation.dead or ()
    ]


def _row(pair: Pair, difference: Difference, raw: Sequence[dict[Place, Any]], *, exact: bool) -> Row:
    assert pair.got is not None
    got = difference.got[pair.got]
    if pair.expected is None:
        asked = list(dict.fromkeys(place for row in raw for place in row))
        if exact:
            asked += [place for place, value in got.items() if value is not None and place not in asked]
        asked = asked or [place for place in got if difference.what == "rows" or place[0] in _TOLD]
        return Row(None, {place: got[place] for place in asked if place in got})
    gone = [place for place in pair.places if place not in got]
    if gone:
        kept = {place: got[place] if place in pair.places else value for place, value in raw[pair.expected].items() if place not in gone}
        return Row(pair.expected, kept, anew=True)
    return Row(pair.expected, {place: got[place] for place in pair.places})
