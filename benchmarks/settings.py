"""What the caller of the benchmarks asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """Size and place of a run.

    Args:
        rows: Rows of the table.
        rounds: Interleaved rounds.
        peers_python: Interpreter of the environment that the peers are installed in.
        folder: For everything that is written; deleted at the end.
    """

    rows: int
    rounds: int
    peers_python: str
    folder: Path
