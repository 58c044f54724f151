"""Which shard a row belongs to: the same in every process, on every machine, for every way the rows were cut into batches.

Equal keys have equal hashes, whatever type carries them (research/quality.md, section 5): 1, 1.0 and decimal 1.00 are one key, -0.0 is
0.0, NaN is NaN, null is a key of its own, "1" is not 1 and ("a", "bc") is not ("ab", "c"). Python's `hash()` differs from process to
process, so it has no part in this.

The mixing is splitmix64's finaliser (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014; constants by David
Stafford, mix 13), applied to 64-bit words; text is taken as little-endian words of 8 bytes, after its length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.convert import decoded, family
from beam_pipelines.columnar.interval import parts
from beam_pipelines.columnar.kinds import storage
from beam_pipelines.columnar.plain import plain

__all__ = ["Words", "row_hashes", "seeded", "shard"]

Words = npt.NDArray[np.uint64]
Longs = npt.NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
# One seed a meaning: values of different meanings are never equal. Fixed for ever, like everything here: stored shards depend on it.
_SEEDS = {name: np.uint64(0x5851F42D4C957F2D * (place + 1) & 0xFFFFFFFFFFFFFFFF) for place, name in enumerate(
    ["null", "bool", "int", "float", "text", "bytes", "date", "timestamp", "time", "duration", "interval", "uuid", "nested"]
)}  # fmt: skip
_LONG_TEXT = 256
_AT_ONCE = 8_192  # texts; what lies between stays in the processor's cache: half the time of 65,536
_FIRST_BYTES = np.array([2 ** (8 * count) - 1 for count in range(9)], dtype=np.uint64)  # of a word, masks of so many
_EXACT = 2**53


def shard(batch: pa.RecordBatch, columns: Sequence[str], shards: int, *, one_type: bool = False) -> pa.Int32Array:
    """The shard of each row, by its key.

    Args:
        batch: Rows.
        columns: The columns of the key, in order.
        shards: How many there are, at least 1.
        one_type: As of `row_hashes`.

    Returns:
        One number from 0 to `shards - 1` a row; never null.
    """
    if shards < 1:
        raise ValueError(f"expected at least one shard, got {shards}")
    return pa.array((row_hashes(batch, columns, one_type=one_type) % np.uint64(shards)).astype(np.int32))


def row_hashes(batch: pa.RecordBatch, columns: Sequence[str], *, one_type: bool = False) -> Words:
    """A 64-bit hash of the key of each row; equal keys have equal hashes, different ones very probably different ones.

    But decimals, and unsigned numbers from 2^63 on, that have one nearest double also have one hash, for each may be equal to it.

    Args:
        batch: Rows.
        columns: The columns of the key, in order.
        one_type: Only values of these columns' own types are ever compared, so that these numbers need not agree with doubles: different
            ones have different hashes as well.
    """
    combined = np.full(batch.num_rows, len(columns), dtype=np.uint64)
    for name in columns:
        combined = _mix(combined * _FIRST + _hashes(batch.column(name), one_type))
    return combined


def seeded(hashes: Words, seed: int) -> Words:
    """Return other hashes of the same keys, which say nothing of the shard that a row belongs to.

    Args:
        hashes: Of `row_hashes`.
        seed: From 0 to 2^64 - 1; each gives hashes of its own.
    """
    return _mix(hashes ^ _mix(np.array([seed], dtype=np.uint64)))


def _mix(words: Words) -> Words:
    mixed: Words = words + _GOLDEN
    # In place: most of the time goes into memory for what lies between.
    mixed ^= mixed >> np.uint64(30)
    mixed *= _FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= _SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _seeded(words: npt.NDArray[np.int64] | Words, meaning: str) -> Words:
    return _mix(words.view(np.uint64) ^ _SEEDS[meaning])


def _hashes(array: pa.Array, one_type: bool) -> Words:
    """One hash a value; null has its own."""
    if pa.types.is_dictionary(array.type) and len(array.dictionary) < len(array):
        values = np.append(_hashes(array.dictionary, one_type), _null())
        places = pc.fill_null(array.indices.cast(pa.int64()), len(array.dictionary))
        return np.take(values, np.asarray(places))
    if not len(array):
        return np.zeros(0, dtype=np.uint64)
    array = decoded(array)
    meaning = family(array.type)
    by_type = _BY_MEANING_AND_TYPE.get(meaning)
    hashes = _BY_MEANING.get(meaning, _other)(array) if by_type is None else by_type(array, one_type)
    if array.null_count:
        hashes[np.asarray(array.is_null())] = _null()[0]
    return hashes


def _null() -> Words:
    return _mix(np.array([_SEEDS["null"]]))


def _longs(array: pa.Array) -> Longs:
    """Values of any fixed-width type as 64-bit integers, 0 for null."""
    return np.asarray(pc.fill_null(array, 0), dtype=np.int64)


def _nulls(array: pa.Array) -> Words:
    return np.repeat(_null(), len(array))


def _bools(array: pa.Array) -> Words:
    return _seeded(_longs(array.cast(pa.int8())), "bool")


def _ints(array: pa.Array, one_type: bool) -> Words:
    if not pa.types.is_uint64(array.type):
        return _seeded(_longs(array), "int")
    values = np.asarray(pc.fill_null(array, 0), dtype=np.uint64)
    hashes = _seeded(values, "int")
    above = values > np.uint64(2**63 - 1)
    if above.any() and not one_type:
        hashes[above] = _floating(values[above].astype(np.float64))
    return hashes


def _floats(array: pa.Array) -> Words:
    return _numbers(np.asarray(pc.fill_null(array.cast(pa.float64()), 0.0), dtype=np.float64))


def _numbers(values: npt.NDArray[np.float64]) -> Words:
    """Whole numbers within 64 bits as the integers they are, so that 1.0 is 1 and -0.0 is 0; the rest by their bits."""
    with np.errstate(invalid="ignore"):
        whole = (np.trunc(values) == values) & (values >= -(2.0**63)) & (values < 2.0**63)
        integers = np.where(whole, values, 0.0).astype(np.int64)
    hashes = _seeded(integers, "int")
    if not whole.all():
        hashes[~whole] = _floating(values[~whole])
    return hashes


def _floating(values: npt.NDArray[np.float64]) -> Words:
    # Every NaN has the bits of one.
    return _seeded(np.where(np.isnan(values), np.nan, values).view(np.uint64), "float")


def _decimals(array: pa.Array, one_type: bool) -> Words:
    """As the integer it is, else as the float nearest to it, which is how SQL compares a decimal with a float: 0.1 is 0.1.

    The float is the correctly rounded one whatever the scale, so 1.50 and 1.5 agree: below 2^53 one division of two exact floats gives it,
    above Python does. With `one_type` what no double tells apart goes by its digits.
    """
    scale, inexact = array.type.scale, _digits if one_type else _decimals_one_by_one
    if not 0 <= scale <= 22 or array.type.bit_width > 128:
        return inexact(array)
    wide = array.cast(pa.decimal128(38, scale))
    halves = np.frombuffer(wide.buffers()[1], dtype="<i8", count=2 * (wide.offset + len(wide)))[2 * wide.offset :].reshape(-1, 2)
    unscaled, high = halves[:, 0].astype(np.int64), halves[:, 1]
    power = np.int64(10**scale) if scale <= 18 else None
    small = high == (unscaled >> np.int64(63))
    if power is None or scale == 0:
        whole = small if scale == 0 else np.zeros(len(array), dtype=bool)
        integers = unscaled
    else:
        whole = small & (unscaled % power == 0)
        integers = unscaled // power
    hashes = _seeded(np.where(whole, integers, 0), "int")
    exact = small & ~whole & (np.abs(unscaled) < _EXACT) & (np.abs(unscaled) >= 0)
    if exact.any():
        hashes[exact] = _numbers(unscaled[exact] / 10.0**scale)
    rest = ~whole & ~exact & np.asarray(array.is_valid())
    if rest.any():
        hashes[rest] = inexact(array.filter(pa.array(rest)))
    return hashes


def _digits(array: pa.Array) -> Words:
    return _strings(array.cast(pa.string()).cast(pa.large_binary()), "text")


def _decimals_one_by_one(array: pa.Array) -> Words:
    values = [value or Decimal(0) for value in array.to_pylist()]
    hashes = _numbers(np.array([float(value) for value in values], dtype=np.float64))
    for row, value in enumerate(values):
        # A whole number of more than 53 bits is not the float nearest to it.
        if value == value.to_integral_value() and -(2**63) <= value < 2**63:
            hashes[row] = _seeded(np.array([int(value)], dtype=np.int64), "int")[0]
    return hashes


def _texts(array: pa.Array) -> Words:
    return _strings(array.cast(pa.large_binary()), "text")


def _binaries(array: pa.Array) -> Words:
    return _strings(array.cast(pa.large_binary()), "bytes")


def _strings(array: pa.Array, meaning: str) -> Words:
    """Word by word over many values at once; long values one by one, by BLAKE2."""
    _, offsets_buffer, data = array.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64, count=array.offset + len(array) + 1)[array.offset :]
    starts = offsets[:-1]
    lengths = np.diff(offsets)
    if array.null_count:
        lengths = np.where(np.asarray(array.is_null()), 0, lengths)
    hashes = _seeded(lengths, meaning)
    # Eight bytes are read at any place, also at the last byte: the copy ends in zeros.
    first, last = (int(offsets[0]), int(offsets[-1])) if len(lengths) else (0, 0)
    raw = np.zeros(last - first + 8, dtype=np.uint8)
    if last > first:
        raw[: last - first] = np.frombuffer(data, dtype=np.uint8, count=last - first, offset=first)
    words: npt.NDArray[np.void] = np.ndarray(shape=(len(raw) - 7,), dtype="<u8", buffer=raw, strides=(1,))
    places = starts - first
    for begin in range(0, len(lengths), _AT_ONCE):
        some = slice(begin, begin + _AT_ONCE)
        _absorb(hashes[some], words, places[some], lengths[some])
    long = np.flatnonzero(lengths > _LONG_TEXT)
    if len(long):
        spans = zip((starts[long] - first).tolist(), lengths[long].tolist(), strict=True)
        digests = b"".join(hashlib.blake2b(raw[at : at + size].tobytes(), digest_size=8).digest() for at, size in spans)
        hashes[long] = _seeded(np.frombuffer(digests, dtype="<u8").astype(np.uint64), meaning)
    return hashes


def _absorb(hashes: Words, words: npt.NDArray[np.void], starts: Longs, lengths: Longs) -> None:
    rows = np.flatnonzero((lengths > 0) & (lengths <= _LONG_TEXT))
    at = 0
    while len(rows):
        every = len(rows) == len(hashes)
        word = words[(starts if every else starts[rows]) + at].astype(np.uint64)
        left = (lengths if every else lengths[rows]) - at
        if left.min() < 8:
            word &= _FIRST_BYTES[np.minimum(left, 8)]
        word += (hashes if every else hashes[rows]) * _SECOND
        if every:
            hashes[:] = _mix(word)
        else:
            hashes[rows] = _mix(word)
        at += 8
        rows = rows[left > 8]


def _uuids(array: pa.Array) -> Words:
    return _strings(storage(array).cast(pa.large_binary()), "uuid")


def _days(array: pa.Array) -> Words:
    return _seeded(_longs(array.cast(pa.date32()).cast(pa.int32())), "date")


def _ticks(array: pa.Array) -> Words:
    """Instants, times and durations by microseconds and the nanoseconds that are left, so that the unit does not matter."""
    meaning = family(array.type)
    width = pa.int32() if pa.types.is_time32(array.type) else pa.int64()
    ticks = _longs(array.cast(width))
    unit = array.type.unit
    if unit == "ns":
        whole, rest = np.floor_divide(ticks, 1000), np.mod(ticks, 1000)
    else:
        with np.errstate(over="ignore"):
            whole, rest = ticks * {"s": 10**6, "ms": 10**3, "us": 1}[unit], np.zeros_like(ticks)
    return _mix(_seeded(whole, meaning) * _FIRST + rest.view(np.uint64))


def _intervals(array: pa.Array) -> Words:
    given = parts(array)
    months_days = given["months"].astype(np.int64) * 2**32 + given["days"].astype(np.int64)
    return _mix(_seeded(months_days, "interval") * _FIRST + given["nanoseconds"].astype(np.int64).view(np.uint64))


def _structs(array: pa.Array, one_type: bool) -> Words:
    combined: Words = np.full(len(array), array.type.num_fields, dtype=np.uint64)
    for position in range(array.type.num_fields):
        combined = _mix(combined * _FIRST + _hashes(array.field(position), one_type))
    return _mix(combined ^ _SEEDS["nested"])


def _other(array: pa.Array) -> Words:
    """Lists, maps and what else is rare in a key: by its JSON, value by value."""
    texts = [None if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS) for value in plain(array)]
    return _strings(pa.array(texts, pa.large_binary()), "nested")


def _json(array: pa.Array) -> Words:
    return _texts(array.storage)


_BY_MEANING = {
    "null": _nulls,
    "bool": _bools,
    "float": _floats,
    "text": _texts,
    "json": _json,
    "bytes": _binaries,
    "uuid": _uuids,
    "date": _days,
    "timestamp": _ticks,
    "time": _ticks,
    "duration": _ticks,
    "interval": _intervals,
}
_BY_MEANING_AND_TYPE = {"int": _ints, "decimal": _decimals, "struct": _structs}
