"""The converter `email`: addresses in lower case."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.email_address import normalized, sure
from beam_pipelines.transforms.converters.converter import Bound, Converted, Entry, blank_to_null, plain_text, text_type
from beam_pipelines.transforms.converters.distinct import Unconverted, by_distinct

__all__ = ["ENTRIES", "address"]

_REASON = "the text is not an e-mail address"


def address(text: str) -> str:
    """Return an address as `normalized` does.

    Raises:
        Unconverted: It is none.
    """
    found = normalized(text)
    if found is None:
        raise Unconverted(_REASON)
    return found


def _email(kind: pa.DataType) -> Bound:
    def convert(array: pa.Array) -> Converted:
        lower = pc.ascii_lower(values := blank_to_null(plain_text(array)))
        open_ = pc.fill_null(pc.invert(sure(lower)), False)
        if not pc.any(open_, min_count=0).as_py():
            return Converted(lower, [], [])
        rows = pc.indices_nonzero(open_)
        found = by_distinct(values.take(rows), address)
        merged = pc.replace_with_mask(lower, open_, found.array)
        return Converted(merged, rows.take(pa.array(found.bad, pa.int64())).to_pylist(), found.reasons)

    return Bound(text_type(kind, "email"), convert)


ENTRIES = (Entry("email", (), _email, "an e-mail address in lower case, without white space at its ends, as email-validator reads it"),)
