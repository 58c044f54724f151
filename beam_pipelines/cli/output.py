"""Where a command's answer goes: stdout, for people or, with `--output json`, one JSON value that nothing else can get into."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from beam_pipelines.cli.table import Table

__all__ = ["Output"]


class Output:
    """The answer of one command.

    Args:
        stream: Where it is written.
        as_json: The answer is JSON; what is meant for people only is not written.
        redact: Takes secrets out of a text.
    """

    def __init__(self, stream: TextIO, *, as_json: bool = False, redact: Callable[[str], str] = str) -> None:
        self._stream = stream
        self.as_json = as_json
        self.redact = redact
        self._gone = False
        self.lost: OSError | None = None  # why the answer, or the rest of it, could not be written

    @classmethod
    @contextlib.contextmanager
    def opened(cls, *, as_json: bool, redact: Callable[[str], str] = str) -> Iterator[Output]:
        """Open stdout.

        With `as_json` it is for the answer alone: whatever else prints (a user's function, a driver, a worker) prints to stderr.
        """
        _stand_in()
        with _reserved() if as_json else contextlib.nullcontext(sys.stdout) as stream:
            output = cls(stream, as_json=as_json, redact=redact)
            try:
                yield output
            finally:
                output.flush()

    @property
    def terminal(self) -> bool:
        """A person sees it at once, in colour and at a known width."""
        return not self.as_json and self._stream.isatty()

    def line(self, text: str = "") -> None:
        """Write a line for people."""
        if not self.as_json:
            self._write(text + "\n")

    def raw(self, text: str) -> None:
        """Write a text as it is, whatever the form of the answer."""
        self._write(text)

    def json(self, value: Any) -> None:
        """Write the answer as JSON."""
        # Before they are escaped: a password with a quote in it would not be found any more.
        safe = self._redacted(value)
        text = json.dumps(safe, indent=2, ensure_ascii=False, default=lambda one: self.redact(str(one)), allow_nan=False)
        # A lone surrogate, which UTF-8 has not, becomes the escape that JSON has for it.
        self._write(text.encode("utf-8", "backslashreplace").decode() + "\n")

    def _redacted(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            return {key: self._redacted(one) for key, one in value.items()}
        return [self._redacted(one) for one in value] if isinstance(value, (list, tuple)) else value

    def table(self, table: Table) -> None:
        """Write a table for people."""
        if self.as_json:
            return
        if self.terminal:
            self._draw(table)
        else:
            self.line(table.text())

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Write labels with what they say; several lines of one stand below each other."""
        width = max((len(label) for label, _ in pairs), default=0)
        for label, text in pairs:
            first, *others = text.split("\n")
            self.line(f"  {label:<{width}}  {first}".rstrip())
            for other in others:
                self.line(f"  {'':<{width}}  {other}")

    def flush(self) -> None:
        """Hand everything to the reader; one that has gone away (`| head`) does not matter, and of another failure `lost` tells."""
        self._guarded(self._stream.flush)

    def _write(self, text: str) -> None:
        self._guarded(lambda: self._stream.write(self.redact(text)))

    def _guarded(self, write: Callable[[], object]) -> None:
        if self._gone:
            return
        try:
            write()
        except OSError as error:
            self.lost = None if isinstance(error, BrokenPipeError) else error
            # What is left in the buffer must not raise again when the interpreter flushes it.
            self._gone = True
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def _draw(self, table: Table) -> None:
        from rich import box  # only on a terminal: it takes longer to import than a small run may take more
        from rich import table as drawn
        from rich.console import Console
        from rich.text import Text

        grid = drawn.Table(box=box.SIMPLE_HEAD, title=table.title or None, title_justify="left", pad_edge=False)
        for column in table.columns:
            grid.add_column(column.removesuffix(">"), justify="right" if column.endswith(">") else "left", overflow="fold")
        for row in table.rows:
            grid.add_row(*(Text(self.redact(cell)) for cell in row))
        self._guarded(lambda: Console(file=self._stream).print(grid))


def _stand_in() -> None:
    """Give a process that was started without stdout or stderr (`>&-`) one that leads nowhere, before a file gets its descriptor."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process


@contextlib.contextmanager
def _reserved() -> Iterator[TextIO]:
    """Keep stdout aside, and let descriptor 1 and `sys.stdout` lead to stderr."""
    before = sys.stdout
    before.flush()
    try:
        kept = os.dup(before.fileno())
    except (OSError, ValueError):  # a test, or a notebook: no descriptor to keep
        sys.stdout = sys.stderr
        try:
            yield before
        finally:
            sys.stdout = before
        return
    os.dup2(sys.stderr.fileno(), before.fileno())
    sys.stdout = sys.stderr
    with os.fdopen(kept, "w", encoding="utf-8", closefd=False) as answer:
        try:
            yield answer
        finally:
            with contextlib.suppress(OSError, ValueError):
                answer.flush()
            sys.stdout = before
            os.dup2(kept, before.fileno())
            os.close(kept)
