"""What a dead letter holds of a message that is no row: key and value, as text where they are text, else in base64."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.io.connector import Unread
from beam_pipelines.io.files.text.rows import is_text
from beam_pipelines.io.kafka.decode import Bad
from beam_pipelines.io.kafka.message import keys_of, offsets_of, values_of

if TYPE_CHECKING:
    from confluent_kafka import Message

__all__ = ["BASE64", "unread"]

BASE64 = "Base64"  # what is added to the name of what is no text
_MOST = 1000  # letters given at a time
_MOST_BYTES = 8 << 20


def unread(topic: str, partition: int, messages: Sequence[Message], bad: Mapping[int, Bad]) -> Iterator[Unread]:
    """Tell of messages that are no rows, in batches of bounded size.

    The batches have the columns `key` and `value` (null where a message has none), or `keyBase64` and `valueBase64`.
    """
    waiting: dict[tuple[str, str], list[int]] = defaultdict(list)
    sizes: dict[tuple[str, str], int] = defaultdict(int)
    keys, values = keys_of(messages), values_of(messages)
    for place in sorted(bad):
        key, value = keys[place], values[place]
        names = _named("key", key), _named("value", value)
        waiting[names].append(place)
        sizes[names] += len(value or b"")
        if len(waiting[names]) >= _MOST or sizes[names] >= _MOST_BYTES:
            yield _told(topic, partition, messages, waiting.pop(names), names, bad)
            sizes.pop(names)
    for names, places in waiting.items():
        yield _told(topic, partition, messages, places, names, bad)


def _named(name: str, value: bytes | None) -> str:
    return name if value is None or is_text(value) else name + BASE64


def _told(
    topic: str, partition: int, messages: Sequence[Message], places: list[int], names: tuple[str, str], bad: Mapping[int, Bad]
) -> Unread:
    some = [messages[place] for place in places]
    contents = keys_of(some), values_of(some)
    # Values of more than 2 GB together do not come: their sizes are bounded above.
    kinds = [pa.large_binary() if name.endswith(BASE64) else pa.large_string() for name in names]
    columns = [pa.array(content, pa.large_binary()).cast(kind) for content, kind in zip(contents, kinds, strict=True)]
    batch = pa.RecordBatch.from_arrays(columns, names=list(names))
    attached = origin.attach_offsets(batch, topic, partition, offsets_of(some))
    return Unread(attached, [bad[place][0] for place in places], [bad[place][1] for place in places])
