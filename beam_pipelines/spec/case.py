"""Tests of a definition: rows that stand for those of its sources, and what becomes of them at named steps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import Model, mistake, nearest
from beam_pipelines.spec.values import Flag, Text, shown

__all__ = ["OUTPUT", "Case", "DeadRow", "Expectation", "MockedRows", "laws"]

OUTPUT = "output"  # in `expect`: what reaches the destination
Row = dict[Text, Any]
_Rows = tuple[Row, ...]


def _short(value: Any) -> str:
    return "type: rows" if isinstance(value, (list, tuple)) else "type: whole"


class MockedRows(Model):
    """Rows in the place of a source's."""

    rows: _Rows = Field(default=(), description="Rows; a column that a row does not name is null in it.")
    types: dict[Text, Text] = Field(
        default_factory=dict, description="Types by column, such as {id: bigint, born: date}; of others they follow from the values."
    )


class DeadRow(Model):
    """A row that is to become a dead letter."""

    row: Row = Field(default_factory=dict, description="Columns of the row as it reached the step; those that are named are compared.")
    code: Text | None = Field(default=None, description="Its error code, such as function-failed.")
    message: Text | None = Field(default=None, description="What its message is to contain.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Something is said of it."""
        if not raw:
            yield mistake("expected 'row', 'code' or 'message', got none of them", at="key", wants=("row", "code", "message"))


class Expectation(Model):
    """What is expected of one step."""

    rows: _Rows | None = Field(default=None, description="Rows that leave the step; of each the columns that it names are compared.")
    dead: tuple[DeadRow, ...] | None = Field(default=None, description="Rows that become dead letters in the step.")
    filtered: Annotated[int, Field(ge=0, strict=True)] | None = Field(default=None, description="How many rows the step drops on purpose.")
    ordered: Flag = Field(default=False, description="true: rows come in this order.")
    exact: Flag = Field(default=False, description="true: a column that a row does not name is to be null.")
    key_fields: tuple[Text, ...] = Field(default=(), description="Columns that tell which row is meant by which, for the report.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Something is expected; keys name rows that have them."""
        if all(raw.get(key) is None for key in ("rows", "dead", "filtered")):
            wants = ("rows", "dead", "filtered")
            yield mistake("expected 'rows', 'dead' or 'filtered', got none of them", at="key", wants=wants)
        keys, rows = raw.get("keyFields"), raw.get("rows")
        if not isinstance(keys, (list, tuple)) or not keys:
            return
        if raw.get("ordered") is True:
            yield mistake("expected no keys of rows that come in order, got 'ordered' as well", "keyFields", at="key")
        for index, row in enumerate(rows if isinstance(rows, (list, tuple)) else ()):
            for key in keys:
                if isinstance(row, Mapping) and isinstance(key, str) and key not in row:
                    yield mistake(f"expected the key {key!r} in each row, which this one does not have", "rows", index)


Mock = Annotated[Annotated[_Rows, Tag("type: rows")] | Annotated[MockedRows, Tag("type: whole")], Discriminator(_short)]
Expected = Annotated[Annotated[_Rows, Tag("type: rows")] | Annotated[Expectation, Tag("type: whole")], Discriminator(_short)]


class Case(Model):
    """One test of a definition; `beam-pipelines test` runs it without a connection."""

    name: Text = Field(description="What is tested, for people.")
    input: Mock = Field(description="Rows in the place of the source's: a list, or {rows, types}.")
    sources: dict[Text, Mock] = Field(
        default_factory=dict,
        description="Rows in the place of other sources, by the step that reads them, such as a join; for a foreign key `STEP/RULE`.",
    )
    now: str | None = Field(default=None, description="Start of the run, with its zone, for now() and today(); default: the clock.")
    expect: dict[Text, Expected] = Field(
        min_length=1, description="By step, or `output` for what reaches the destination: rows, or {rows, dead, filtered, ...}."
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not value.isprintable():  # it is shown in terminals, and written as XML
            raise ValueError(f"expected a name on one line without control characters, got {shown(value)}")
        return value

    @field_validator("now")
    @classmethod
    def _check_now(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            # Python 3.10 does not read the `Z` that everybody writes.
            moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", value))
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise ValueError(f"expected a time such as 2026-01-31T00:00:00Z, got {shown(value)}")
        return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")

    @property
    def mocks(self) -> dict[str, MockedRows]:
        """Rows of each source, by step; those of the service's own source by the empty text."""
        return {name: _whole(mock) for name, mock in {"": self.input, **self.sources}.items()}

    @property
    def expectations(self) -> dict[str, Expectation]:
        """What is expected, by step or `output`."""
        return {name: one if isinstance(one, Expectation) else Expectation(rows=one) for name, one in self.expect.items()}


def _whole(mock: _Rows | MockedRows) -> MockedRows:
    return mock if isinstance(mock, MockedRows) else MockedRows(rows=mock)


def laws(tests: Any, steps: Iterable[str], references: Iterable[str] = ()) -> Iterator[InitErrorDetails]:
    """Yield the mistakes between tests and the definition around them.

    Args:
        tests: What stands behind `tests`, raw.
        steps: Ids of the definition's steps, those in the sources of joins included.
        references: What its foreign keys refer to, each as `STEP/RULE`.
    """
    known, names = list(steps), set()
    for index, case in enumerate(tests if isinstance(tests, (list, tuple)) else ()):
        if not isinstance(case, Mapping):
            continue
        name = case.get("name")
        if isinstance(name, str) and name in names:
            yield mistake(f"expected a name of its own, got {name!r} again", "tests", index, "name")
        names.add(str(name))
        for key, places in (("expect", [*known, OUTPUT]), ("sources", [*known, *references])):
            for place in case[key] if isinstance(case.get(key), Mapping) else ():
                if place not in places:
                    meant = nearest(place, places)
                    hint = f"did you mean {meant!r}?" if meant else f"known: {', '.join(places) or 'none'}"
                    yield mistake(f"expected the id of a step, got {shown(place)}", "tests", index, key, place, hint=hint, at="key")
                elif place == OUTPUT and OUTPUT in known and key == "expect":
                    yield mistake(
                        f"expected no step of the id {OUTPUT!r}, for it means what reaches the destination, got one",
                        "tests",
                        index,
                        key,
                        place,
                        hint="rename the step",
                        at="key",
                    )
