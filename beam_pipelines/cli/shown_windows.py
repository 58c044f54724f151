"""Results of windows as they come out, line by line, as the definition names them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from beam_pipelines.cli import failure
from beam_pipelines.errors import BeamPipelinesError

if TYPE_CHECKING:
    from beam_pipelines.io.connector import LedgerRow
    from beam_pipelines.spec import Definition
    from beam_pipelines.spec.step.window import WindowStep

__all__ = ["ShownWindows"]

_NARROW = 8  # characters of a column at least: widths are chosen before there is a value
_GROUP = 10
_PATIENCE = 1.0  # seconds that another process may hold the file


class ShownWindows:
    """Shows results when a commit has written some; what is there already is not shown.

    It shows what it can: the definition is the user's to edit.

    Args:
        definition: A stream; with a window step whose results go into a table of the file, they are shown.
        database: The file.
        begin: Windows that end at or before this are of an earlier run, ms since the epoch.
    """

    def __init__(self, definition: Definition, database: Path, begin: int) -> None:
        step = next((cast("WindowStep", one) for one in definition.steps if one.type == "window"), None)
        self._groups = list(step.group_names) if step else []
        self._results = [measure.name for measure in step.measures] if step else []
        if step and not any(measure.function == "count" and measure.field is None for measure in step.measures):
            self._results.insert(0, "eventCount")
        self._table = getattr(definition.destinations[0], "table", None) if step else None
        self._database, self._begin = database, begin
        self._seen: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def __call__(self, row: LedgerRow) -> None:
        """Show what a commit has written."""
        if self._table is None or row.counts is None or not any(step.windows for step in row.counts.tally.steps):
            return
        for start, end, *values in self._found(self._table):
            key, results = (start, *values[: len(self._groups)]), tuple(values[len(self._groups) :])
            if self._seen.get(key) != results:
                if not self._seen:
                    failure.say(self._line("window (UTC)", self._groups, self._results))
                self._seen[key] = results
                failure.say(self._line(f"{_clock(start)}-{_clock(end)}", map(str, key[1:]), map(_text, results)))

    def _found(self, table: str) -> list[tuple[Any, ...]]:
        import duckdb

        from beam_pipelines.io.duckdb.reader import opened

        names = ", ".join(_quoted(name) for name in (*self._groups, *self._results))
        order = ", ".join(_quoted(name) for name in ("windowStart", *self._groups))
        columns = f"epoch_ms(windowStart), epoch_ms(windowEnd), {names}"
        query = f"SELECT {columns} FROM {_quoted(table)} WHERE epoch_ms(windowEnd) > ? ORDER BY {order}"
        try:
            with opened(self._database, _PATIENCE) as reader:
                try:
                    return reader.connection.execute(query, [self._begin]).fetchall()
                except (duckdb.BinderException, duckdb.CatalogException):
                    self._table = None  # a later step renames columns, or they go elsewhere
                    failure.say(f"  results go into {table} in columns of other names than the window step's: they are not shown here")
        except BeamPipelinesError:
            return []  # somebody looks at the file, say: these come with the next ones
        return []

    def _line(self, window: str, groups: Any, results: Any) -> str:
        cells = [window.ljust(13), *(text.ljust(_GROUP) for text in groups)]
        cells += [text.rjust(max(_NARROW, len(name))) for name, text in zip(self._results, results, strict=True)]
        return "  " + "  ".join(cells)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _clock(ms: int) -> str:
    return time.strftime("%H:%M" if ms % 60_000 == 0 else "%H:%M:%S", time.gmtime(ms / 1000))


def _text(value: Any) -> str:
    return "" if value is None else f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
