"""Why a rule is suggested, in words for the person who looks it over."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from beam_pipelines.rules.profiling.columns import Profile
from beam_pipelines.rules.profiling.discreet import keeps_secrets

__all__ = ["reason"]


def reason(rule: dict[str, Any], profile: Profile) -> str:
    """Return why a rule is suggested.

    Args:
        rule: As `rules.profiling.suggest.suggest` gives it.
        profile: That it was suggested by.
    """
    if rule["type"] == "required-fields":
        return f"of {profile.rows:,} rows none is without a value there"
    column = profile.columns[rule["field"]]
    count = f"{column.count:,} value{'' if column.count == 1 else 's'}"
    if rule["type"] == "unique":
        return f"{count}, none of them twice"
    if rule["type"] == "in-set":
        several = f"and these {len(rule['values'])} are all that there are"
        return f"{count}, {several if len(rule['values']) > 1 else 'all of them this one'}"
    if rule["type"] == "numeric-range":
        ends = column.to_dict(0)
        return f"{count} from {ends['min']} to {ends['max']}, rounded outwards"
    if rule["type"] == "regex" and column.texts is not None:
        ((shape, _),) = column.texts.shapes.top(1, pa.string())
        return f"{count}, all of one shape" + ("" if keeps_secrets(rule["field"]) else f": {shape}")
    return f"{count}, each of this form"
