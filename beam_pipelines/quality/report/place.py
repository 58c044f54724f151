"""Where a row came from, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["place"]


def place(example: Mapping[str, Any]) -> str:
    """Return where a row of an example came from; nothing where it is not known.

    >>> place({"origin": {"source": "people", "key": {"id": 17}}}), place({"origin": {"source": "a.csv", "row": 16, "line": 18}})
    ('people, id 17', 'a.csv, row 16, line 18')
    >>> place({"recordIndex": 4})
    'row 4'
    """
    origin = example.get("origin") or {}
    keys = origin.get("key") or {}
    found = [str(origin["source"])] if origin.get("source") else []
    found += [f"{name} {value}" for name, value in keys.items()] if isinstance(keys, Mapping) else [f"key {keys}"]
    found += [f"{name} {origin[name]}" for name in ("row", "line", "partition", "offset") if origin.get(name) is not None]
    if len(found) <= bool(origin.get("source")) and example.get("recordIndex") is not None:
        found.append(f"row {example['recordIndex']}")
    return ", ".join(found)
