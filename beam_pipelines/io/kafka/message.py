"""Parts of many messages at once: a call from within `map` takes half the time of one in a loop, and there are millions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from confluent_kafka import Message

__all__ = ["all_good", "keys_of", "offsets_of", "stamps_of", "values_of"]


def all_good(messages: Sequence[Message]) -> bool:
    """Whether each is a message, and none an event of the client."""
    from confluent_kafka import Message

    return not any(map(Message.error, messages))


def values_of(messages: Sequence[Message]) -> list[bytes | None]:
    """Their values."""
    from confluent_kafka import Message

    return list(map(Message.value, messages))


def keys_of(messages: Sequence[Message]) -> list[bytes | None]:
    """Their keys."""
    from confluent_kafka import Message

    return list(map(Message.key, messages))


def offsets_of(messages: Sequence[Message]) -> pa.Array:
    """Their offsets, int64."""
    from confluent_kafka import Message

    return pa.array(np.fromiter(map(Message.offset, messages), np.int64, len(messages)))


def stamps_of(messages: Sequence[Message]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Whether each has a timestamp of its own, and ms since the epoch."""
    from confluent_kafka import Message

    pairs = itertools.chain.from_iterable(map(Message.timestamp, messages))
    found = np.fromiter(pairs, np.int64, 2 * len(messages)).reshape(-1, 2)
    return found[:, 0] != 0, found[:, 1]
