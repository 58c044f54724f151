from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mssql, mysql, oracle

from beam_pipelines.io.sql.portable_table import misfits

NOT_FINITE = ["nan", " NaN ", "-inf", "Infinity", Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), float("nan"), float("inf")]


@pytest.mark.parametrize("database", ["postgresql", "mysql", "mssql"])
@pytest.mark.parametrize(
    ("kind", "fits", "not_"),
    [
        (sa.String(3), ["", "abc", "äöü", "abc  ", None], ["abcd", "  ab"]),
        (sa.Text(), ["x" * 1000], []),
        (sa.SmallInteger(), [-32768, 32767, "12", " 7 ", "32767.4", True, None], [-32769, 32768, "12a", "", *NOT_FINITE]),
        (sa.Integer(), [-(2**31), 2**31 - 1], [2**31]),
        (sa.INTEGER(), [-(2**31), 2**31 - 1], [2**31]),
        (sa.BigInteger(), [2**63 - 1], [2**63, -(2**63) - 1]),
        (sa.Numeric(5, 2), [Decimal("999.99"), -999, "1e2"], [Decimal(1000), "-1000.00", "x"]),
        (sa.Numeric(), [Decimal(10) ** 50], ["x"]),
        (sa.Float(), [1e300, "2.5"], ["x"]),
        (sa.Date(), ["whatever"], []),
    ],
    ids=str,
)
def test_a_value_fits_a_column_or_not(kind: Any, fits: list[Any], not_: list[Any], database: str) -> None:
    assert [value for value in fits if misfits(kind, value, database)] == []
    assert [value for value in not_ if not misfits(kind, value, database)] == []


# Ranges: https://dev.mysql.com/doc/refman/8.4/en/integer-types.html
@pytest.mark.parametrize(
    ("kind", "fits", "not_"),
    [
        (mysql.TINYINT(), [-128, 127], [-129, 128]),
        (mysql.TINYINT(1), [-128, 127], [-129, 128]),
        (mysql.TINYINT(unsigned=True), [0, 255, "-0.4"], [-1, 256]),
        (mysql.SMALLINT(), [-32768, 32767], [-32769, 32768]),
        (mysql.SMALLINT(unsigned=True), [0, 65535], [-1, 65536]),
        (mysql.MEDIUMINT(), [-8388608, 8388607], [-8388609, 8388608]),
        (mysql.MEDIUMINT(unsigned=True), [0, 16777215], [-1, 16777216]),
        (mysql.INTEGER(), [-2147483648, 2147483647], [-2147483649, 2147483648]),
        (mysql.INTEGER(unsigned=True), [0, 4294967295], [-1, 4294967296]),
        (mysql.BIGINT(), [9223372036854775807], [9223372036854775808]),
        (mysql.BIGINT(unsigned=True), [0, 18446744073709551615], [-1, 18446744073709551616]),
        (mysql.DECIMAL(10, 2), ["99999999.99", "-1"], ["100000000", *NOT_FINITE]),
        (mysql.DECIMAL(10, 2, unsigned=True), ["99999999.99", "-0.001"], ["-0.01", "100000000", *NOT_FINITE]),
        (mysql.DOUBLE(), [-1e300], NOT_FINITE),
        (mysql.FLOAT(unsigned=True), [0.0, 1.5], [-0.5]),
        (mysql.SET("a", "b"), ["a,b"], []),
    ],
    ids=repr,
)
def test_a_value_fits_a_column_of_mysql_or_not(kind: Any, fits: list[Any], not_: list[Any]) -> None:
    assert [value for value in fits if misfits(kind, value, "mysql")] == []
    assert [value for value in not_ if not misfits(kind, value, "mysql")] == []


@pytest.mark.parametrize(
    ("kind", "value", "database"),
    [
        (sa.INTEGER(), 10**30, "oracle"),
        (sa.INTEGER(), 10**30, "snowflake"),
        (sa.INTEGER(), 2**40, "bigquery"),
        (oracle.NUMBER(13), 2**40, "oracle"),
        (sa.INTEGER(), "abc", "sqlite"),
        (sa.VARCHAR(3), "abcd", "sqlite"),
        (sa.NUMERIC(10, 2), "nan", "postgresql"),
        (sa.DOUBLE(), "-inf", "postgresql"),
        (mssql.TINYINT(), 255, "mssql"),
    ],
    ids=repr,
)
def test_no_column_is_blamed_where_another_database_would_take_the_value(kind: Any, value: Any, database: str) -> None:
    assert not misfits(kind, value, database)


def test_what_sql_server_calls_tiny_has_no_sign() -> None:
    assert [value for value in (-1, 0, 255, 256) if misfits(mssql.TINYINT(), value, "mssql")] == [-1, 256]
