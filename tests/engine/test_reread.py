"""Whether an output writes what the source reads, by the names alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_pipelines.engine.reread import reads_file, reads_table
from beam_pipelines.spec import DatabaseSource, FileOutput, FileSource, TableOutput


@pytest.mark.parametrize(
    ("read", "written", "again"),
    [
        ("in", "in", True),
        ("in", "in/../in/", True),
        ("in", "in/bad", False),
        ("in", "bad", False),
        ("in/rows.parquet", "in", False),
        ("in/rows.parquet", "in/rows.parquet", True),
        ("in/*.parquet", "in", True),
        ("in/*.parquet", "in/bad.parquet", True),
        ("in/rows-*.parquet", "in", False),
        ("in/*.csv", "in", False),
        ("in/**/*.parquet", "in/bad", True),
    ],
)
def test_paths(tmp_path: Path, read: str, written: str, again: bool) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "rows.parquet").touch()
    output = FileOutput(path=written, format="parquet", mode="replace")
    assert reads_file(FileSource(path=read, format="parquet"), output, written, tmp_path) is again


@pytest.mark.parametrize(
    ("source", "output", "again"),
    [
        ({"bucket": "b", "prefix": "in/"}, {"bucket": "b", "prefix": "in/bad/"}, True),
        ({"bucket": "b", "prefix": "in/", "pattern": "*.csv"}, {"bucket": "b", "prefix": "in/bad"}, False),
        ({"bucket": "b", "prefix": "in/"}, {"bucket": "b", "prefix": "bad/"}, False),
        ({"bucket": "b", "prefix": "in/"}, {"bucket": "c", "prefix": "in/"}, False),
    ],
)
def test_buckets(source: dict[str, str], output: dict[str, str], again: bool) -> None:
    given = FileOutput.model_validate({"type": "file", "format": "parquet", **output})
    assert reads_file(FileSource.model_validate({"type": "file", **source}), given, given.place, None) is again


def test_tables() -> None:
    source = DatabaseSource(connection="crm", table="public.people")
    for connection, table, again in (("crm", "People", True), ("crm", "found", False), ("lake", "people", False)):
        assert reads_table(source, "public.people", TableOutput(connection=connection, table=table), table) is again
