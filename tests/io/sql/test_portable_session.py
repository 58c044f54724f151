from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import exc

from beam_pipelines.errors import DataError
from beam_pipelines.io.connections import Connections, variable
from beam_pipelines.io.sql.portable_session import PortableDatabase

SECRET = "s3cr3t-value"


class DriverError(Exception):
    """As drivers raise them: MySQL's give number and text, psycopg a diagnosis."""

    diag: Any = None


class Diagnosis:
    def __init__(self, column: str | None = None, constraint: str | None = None) -> None:
        self.column_name, self.constraint_name = column, constraint


def said(cause: DriverError, kind: type[exc.DBAPIError] = exc.DataError) -> str:
    database = PortableDatabase(Connections(None, {variable("db"): "postgresql://shop@127.0.0.1:9/shop"}).get("db"))
    with pytest.raises(DataError) as raised, database.doing("writing"):
        raise kind("INSERT", {}, cause)
    assert raised.value.code == "target-refused"
    return str(raised.value)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1048, "Column 'name' cannot be null"),
        (1264, "Out of range value for column 'age' at row 1"),
        (1406, "Data too long for column 'name' at row 1"),
        (3819, "Check constraint 'people_chk_1' is violated."),
    ],
)
def test_texts_of_mysql_that_name_what_refuses_a_row_are_kept(number: int, text: str) -> None:
    assert said(DriverError(number, text), exc.OperationalError) == f"{text} (DriverError {number})"


@pytest.mark.parametrize(
    ("number", "text"),
    [(1062, f"Duplicate entry '{SECRET}' for key 'people.name'"), (1366, f"Incorrect integer value: '{SECRET}' for column 'age' at row 1")],
)
def test_texts_of_mysql_that_quote_a_value_are_not(number: int, text: str) -> None:
    assert said(DriverError(number, text)) == f"a value or a constraint (DriverError {number})"


@pytest.mark.parametrize(
    ("diagnosis", "where"),
    [(Diagnosis("name"), " in column 'name'"), (Diagnosis(None, "of_age"), " by of_age"), (Diagnosis(), "")],
    ids=["column", "constraint", "neither"],
)
def test_a_diagnosis_names_column_or_constraint(diagnosis: Diagnosis, where: str) -> None:
    cause = DriverError(f"DETAIL: Failing row contains ({SECRET})")
    cause.diag = diagnosis
    assert said(cause, exc.IntegrityError) == f"a value or a constraint{where} (DriverError)"
