"""A table for people: drawn by rich on a terminal, aligned text elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Table"]


@dataclass(frozen=True)
class Table:
    """Headed columns of text.

    Args:
        columns: Their headings; one that ends in `>` is aligned to the right (numbers).
        rows: A text a column.
        title: Above it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    @property
    def headings(self) -> list[str]:
        return [column.removesuffix(">") for column in self.columns]

    def text(self) -> str:
        """Return aligned text, two blanks between columns, no blank at the end of a line."""
        lines = [self.headings, *([_one_line(cell) for cell in row] for row in self.rows)]
        widths = [max(len(line[index]) for line in lines) for index in range(len(self.columns))]
        body = "\n".join(self._line(line, widths) for line in lines)
        return f"{self.title}\n{body}" if self.title else body

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        aligned = [
            cell.rjust(width) if column.endswith(">") else cell.ljust(width)
            for cell, width, column in zip(cells, widths, self.columns, strict=True)
        ]
        return "  ".join(aligned).rstrip()


def _one_line(cell: str) -> str:
    """Return a cell that cannot break the table, nor speak to the terminal: control characters are shown as escapes."""
    if cell.isprintable():
        return cell
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in cell)
