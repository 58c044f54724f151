"""Where the programs are that tests fetch or make once."""

from __future__ import annotations

from pathlib import Path

__all__ = ["folder_of"]


def folder_of(name: str) -> Path:
    """The folder of a program: in the checkout where there is one, else in the user's cache."""
    root = Path(__file__).resolve().parents[2]
    return root / ".cache" / name if (root / "Makefile").exists() else Path.home() / ".cache" / "beam_pipelines" / name
