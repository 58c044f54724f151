"""When a service runs."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator

from beam_pipelines.spec.model import Model, nearest
from beam_pipelines.spec.values import Text, shown

__all__ = ["Schedule"]


def _both_spellings(schema: dict[str, Any]) -> None:
    """Let the JSON Schema take the short form `{cron: ...}` beside the long one."""
    properties = schema["properties"]
    properties["cron"] = {**properties["expression"], "title": "Cron", "description": "Short for type: cron and expression."}
    schema.pop("required", None)
    schema["oneOf"] = [{"required": ["expression"]}, {"required": ["cron"]}]


class Schedule(Model):
    """Times by a cron expression: `{type: cron, expression, timezone}`, or `{cron: expression}` for short."""

    model_config = ConfigDict(json_schema_extra=_both_spellings)
    synonyms: ClassVar[dict[str, str]] = {"cron": "expression"}

    type: Literal["cron"] = Field(default="cron", description="Times by a cron expression.")
    expression: Text = Field(description="Minute, hour, day of month, month, day of week, such as `0 */6 * * *`.")
    timezone: str = Field(default="UTC", description="IANA zone that the expression is meant in, such as Europe/Berlin.")

    @field_validator("expression")
    @classmethod
    def _check_expression(cls, value: str) -> str:
        import cronsim  # here: only definitions with a schedule pay for it

        fields = len(value.split())
        if fields != 5:
            raise ValueError(f"expected five fields (minute, hour, day of month, month, day of week), got {fields} in {shown(value)}")
        try:
            next(cronsim.CronSim(value, datetime(2000, 1, 1, tzinfo=timezone.utc)))
        except cronsim.CronSimError as error:
            problem = str(error)
            raise ValueError(f"expected a cron expression, got {shown(value)}: {problem[:1].lower()}{problem[1:]}") from error
        except StopIteration as error:
            raise ValueError(f"expected a cron expression that comes round, got {shown(value)}, which never does") from error
        return value

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, value: str) -> str:
        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            meant = nearest(value, zoneinfo.available_timezones())
            better = f"; did you mean {meant!r}?" if meant else ""
            raise ValueError(f"expected an IANA time zone such as Europe/Berlin, got {shown(value)}{better}") from error
        return value

    def next(self, after: datetime, n: int = 1) -> list[datetime]:
        """Return the next `n` times after a moment, in UTC.

        Around a change of clocks it does as Debian's cron: a time that is skipped runs right after the gap, one that occurs twice
        runs once (cronsim).

        Args:
            after: An aware moment; itself excluded.
            n: How many.

        Raises:
            ValueError: `after` has no time zone.
        """
        if after.tzinfo is None:
            raise ValueError(f"expected a time with its zone, got {after!r}")
        times = self._times(after)
        return [next(times) for _ in range(n)]

    def _times(self, after: datetime) -> Iterator[datetime]:
        import cronsim  # here: see above

        local = after.astimezone(zoneinfo.ZoneInfo(self.timezone))
        for moment in cronsim.CronSim(self.expression, local):
            yield moment.astimezone(timezone.utc)

    def describe(self) -> str:
        """Return the schedule in words, such as `At minute 0 past every sixth hour (UTC)`."""
        import cronsim  # here: see above

        words = cronsim.CronSim(self.expression, datetime(2000, 1, 1, tzinfo=timezone.utc)).explain()
        return f"{words} ({self.timezone})"
