"""Which place a sink is: what tells it from others, wherever it stands in the definition."""

from __future__ import annotations

import hashlib
import json
import posixpath
from typing import Any

__all__ = ["key_of"]


def key_of(model: Any) -> str:
    """A digest of the place that a sink is: 12 hexadecimal digits, which are its name in ledgers.

    Args:
        model: From the definition. Where it stands there, and how rows go in (`mode`, `batchSize`, ...), does not tell.
    """
    return hashlib.sha256(json.dumps(_place(model)).encode()).hexdigest()[:12]


def _place(model: Any) -> list[str]:
    if model.type in ("database", "data-warehouse"):
        return ["table", model.connection, model.table]
    if model.type == "kafka":
        return ["topic", model.connection, model.topic]
    if model.type == "api":
        return ["api", model.endpoint]
    if model.path is not None:
        return ["files", model.path if "://" in model.path else posixpath.normpath(model.path)]
    return ["bucket", model.bucket, model.prefix]
