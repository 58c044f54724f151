"""The shapes of texts: a run of small letters is `a`, one of capitals `A`, one of digits `9`; all else stays. `Bob-17` is `Aa-9`."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.kinds import is_text

__all__ = ["CHARACTERS", "FORMS", "all_of_form", "of_form", "pattern", "shapes"]

CHARACTERS = 60  # of a shape that are kept
_FEW = 64
# Forms that are looked for, as RE2 patterns.
FORMS = {
    "email": r"^[A-Za-z0-9_%+'-]+(\.[A-Za-z0-9_%+'-]+)*@([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,63}$",
    "uuid": r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$",
}
# What has a form and is none all the same: addresses that no mail goes to, or too long, or with a label that is kept for other writing.
_UNLESS = {"email": r"--|^[^@]{65}|[^.@]{64}|^.{255}|(?i)\.(arpa|alt|internal|invalid|local|localhost|onion)$"}
_SPECIAL = re.compile(r"[\\.^$|?*+()\[\]{}]")  # what RE2 does not take as itself
_RUNS = {"a": r"[a-z\x{80}-\x{10FFFF}]+", "A": "[A-Z]+", "9": "[0-9]+"}


def _classes() -> bytes:
    table = bytearray(range(256))
    for first, last, shown in ((ord("A"), ord("Z"), "A"), (ord("a"), ord("z"), "a"), (ord("0"), ord("9"), "9"), (0x80, 0xFF, "a")):
        table[first : last + 1] = shown.encode() * (last + 1 - first)
    return bytes(table)


_CLASSES = _classes()


def shapes(texts: pa.Array) -> pa.Array:
    """Return the shape of each text, at most the first `CHARACTERS` of it. What is not ASCII counts as a small letter.

    Args:
        texts: Text without null.
    """
    assert is_text(texts.type)
    wide = texts.cast(pa.large_binary())
    _, offsets_buffer, data = wide.buffers()
    if not len(wide) or data is None:
        return pa.array([""] * len(wide), pa.string())
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64, count=wide.offset + len(wide) + 1)[wide.offset :]
    first, last = int(offsets[0]), int(offsets[-1])
    if first == last:
        return pa.array([""] * len(wide), pa.string())
    classes = np.frombuffer(memoryview(data)[first:last].tobytes().translate(_CLASSES), dtype=np.uint8)
    kept = np.ones(len(classes), dtype=np.bool_)
    np.not_equal(classes[1:], classes[:-1], out=kept[1:])
    kept |= (classes != ord("a")) & (classes != ord("A")) & (classes != ord("9"))  # of all else each is kept
    ends = offsets - first
    kept[ends[:-1][ends[:-1] < ends[1:]]] = True  # where a text begins, no run goes on
    sums = np.cumsum(kept, dtype=np.int32 if len(kept) < 1 << 31 else np.int64)
    places = np.where(ends > 0, sums[ends - 1], 0).astype(np.int64)
    made = pa.LargeStringArray.from_buffers(len(wide), pa.py_buffer(places), pa.py_buffer(classes[kept]))
    if len(made) and int(np.diff(places).max()) > CHARACTERS:
        made = pc.utf8_slice_codeunits(made, 0, CHARACTERS)
    return made.cast(pa.string())


def all_of_form(texts: pa.Array, form: str) -> bool:
    """Return whether all texts, none of which is null, are of one of `FORMS`: of most columns a few tell that they are not."""
    return bool(of_form(texts.slice(0, _FEW), form).all()) and bool(of_form(texts.slice(_FEW), form).all())


def of_form(texts: pa.Array, form: str) -> npt.NDArray[np.bool_]:
    """Return which texts, none of which is null, are of one of `FORMS`."""
    matched = pc.match_substring_regex(texts, FORMS[form])
    if form in _UNLESS:
        matched = pc.and_not(matched, pc.match_substring_regex(texts, _UNLESS[form]))
    return np.asarray(matched)


def pattern(shape: str) -> str | None:
    """Return the RE2 pattern of all texts of a shape; None: it may be cut off.

    >>> pattern("A-9")
    '^[A-Z]+-[0-9]+$'
    """
    if not shape or len(shape) >= CHARACTERS or "\n" in shape:
        return None
    return "^" + "".join(_RUNS.get(one) or _SPECIAL.sub(r"\\\g<0>", one) for one in shape) + "$"
