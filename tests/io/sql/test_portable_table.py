from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from beam_pipelines.io.sql.portable_table import misfits

NOT_FINITE = ["nan", " NaN ", "-inf", "Infinity", Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), float("nan"), float("inf")]


@pytest.mark.parametrize(
    ("kind", "fits", "not_"),
    [
        (sa.String(3), ["", "abc", "äöü", None], ["abcd"]),
        (sa.Text(), ["x" * 1000], []),
        (sa.SmallInteger(), [-32768, 32767, "12", " 7 ", None], [-32769, 32768, "12a", "", *NOT_FINITE]),
        (sa.Integer(), [-(2**31), 2**31 - 1], [2**31]),
        (sa.BigInteger(), [2**63 - 1], [2**63, -(2**63) - 1]),
        (sa.Numeric(5, 2), [Decimal("999.99"), -999, "1e2"], [Decimal(1000), "-1000.00", "x", *NOT_FINITE]),
        (sa.Numeric(), [Decimal(10) ** 50], ["x"]),
        (sa.Float(), [1e300, "2.5"], ["x"]),
        (sa.Date(), ["whatever"], []),
    ],
    ids=str,
)
def test_a_value_fits_a_column_or_not(kind: Any, fits: list[Any], not_: list[Any]) -> None:
    assert [value for value in fits if misfits(kind, value)] == []
    assert [value for value in not_ if not misfits(kind, value)] == []
