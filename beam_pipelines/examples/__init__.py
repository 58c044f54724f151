"""The packaged examples: every definition of the product's brief, in YAML."""

from __future__ import annotations

from pathlib import Path

__all__ = ["names", "path"]

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of the examples, in alphabetical order."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


def path(name: str) -> Path:
    """Return the file of an example.

    Args:
        name: One of `names()`.

    Raises:
        KeyError: There is no example of this name.
    """
    file = _FOLDER / f"{name}.yaml"
    if name not in names():
        raise KeyError(f"expected one of {', '.join(names())}, got {name!r}")
    return file
