"""The profile of columns, as a report lists it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["columns_of"]


def columns_of(profile: Any) -> list[dict[str, Any]]:
    """Return the profile of each column, with its name as `column`.

    Args:
        profile: As `rules.profiling.Profile.to_dict` gives it, by name below `columns`, or a list of columns that have a name each; or
            nothing.
    """
    if not profile:
        return []
    if isinstance(profile, Mapping):
        return [{"column": name, **column} for name, column in profile.get("columns", profile).items()]
    return [{"column": _name(column), **column} for column in profile]


def _name(column: Mapping[str, Any]) -> str:
    return str(next((column[key] for key in ("column", "name", "field") if key in column), ""))
