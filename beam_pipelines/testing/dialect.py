"""SQLite as a database that only SQLAlchemy knows: the smallest of those that the portable target is for."""

from __future__ import annotations

from pathlib import Path

from beam_pipelines.io.connections import Connections, variable
from beam_pipelines.io.sql.portable_target import PortableTarget

__all__ = ["portable_sqlite"]


def portable_sqlite(path: Path) -> PortableTarget:
    """Open a SQLite file as the portable target; a stand-in for the target of SQLite's own, which takes a path as well."""
    return PortableTarget(Connections(None, {variable("db"): f"sqlite:///{path}"}).get("db"))
