"""Column types that read the same from SQLite and PostgreSQL: times, money, JSON and free text, each as text."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator

__all__ = ["MAX_MESSAGE", "Json", "Message", "Moment", "Money"]

MAX_MESSAGE = 4000  # characters of an error's text: a database's complaint may quote whole statements


class Moment(TypeDecorator[datetime]):
    """Aware time as ISO 8601 in UTC with microseconds: of fixed length, so that text sorts as time does."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> str | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"expected a time with a zone, got {value.isoformat()}")
        return value.astimezone(timezone.utc).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


class Money(TypeDecorator[Decimal]):
    """Decimal as text: SQLite would make a float of it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, _dialect: Dialect) -> str | None:
        return None if value is None else format(value, "f")

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class Json(TypeDecorator[Any]):
    """JSON as ASCII text: PostgreSQL's text takes no NUL and its jsonb reorders keys."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, _dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, allow_nan=False, separators=(",", ":"))

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class Message(TypeDecorator[str]):
    """Text of any origin: cut to `MAX_MESSAGE` and stripped of what a database refuses, for a record must never fail on its message."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        if value is None:
            return None
        clean = value.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
        return clean if len(clean) <= MAX_MESSAGE else clean[: MAX_MESSAGE - 1] + "\N{HORIZONTAL ELLIPSIS}"

    def process_result_value(self, value: str | None, _dialect: Dialect) -> str | None:
        return value
