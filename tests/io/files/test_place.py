from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.io.connections import Connections, variable
from beam_pipelines.io.files.place import Place, matcher
from beam_pipelines.spec.source import FileSource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "a.parquet",
        "b.pq",
        "c.csv",
        "_done",
        ".x.parquet",
        "day/1.parquet",
        "day/2.parquet",
        "day/deep/3.parquet",
        "daily-4.parquet",
        "[5].parquet",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def by_path(folder: Path, path: str) -> list[str]:
    place = Place.of(FileSource(path=path), None, folder)
    return [place.label(file) for file in place.files((".parquet", ".pq"))]


def by_bucket(folder: Path, **model: Any) -> list[str]:
    connection = Connections(None, {variable("in"): f'{{"path": "{folder}"}}'}).get("in")
    place = Place.of(FileSource(bucket="in", **model), connection, None)
    return [place.label(file) for file in place.files((".parquet", ".pq"))]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("a.parquet", ["a.parquet"]),
        ("./a.parquet", ["a.parquet"]),
        ("[5].parquet", ["[5].parquet"]),
        ("_done", ["_done"]),
        ("day", ["day/1.parquet", "day/2.parquet"]),
        ("day/*.parquet", ["day/1.parquet", "day/2.parquet"]),
        ("day/[2-9].parquet", ["day/2.parquet"]),
        ("day/**/*.parquet", ["day/1.parquet", "day/2.parquet", "day/deep/3.parquet"]),
        (".", ["[5].parquet", "a.parquet", "b.pq", "daily-4.parquet"]),
    ],
)
def test_paths_name_files_folders_and_patterns(folder: Path, path: str, names: list[str]) -> None:
    assert by_path(folder, path) == names
    assert [folder / name for name in by_path(folder, str(folder / path))] == [folder / name for name in names]


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ({"prefix": "day/"}, ["day/1.parquet", "day/2.parquet", "day/deep/3.parquet"]),
        ({"prefix": "da", "pattern": "*.parquet"}, ["daily-4.parquet"]),
        ({"prefix": "day/", "pattern": "*.parquet"}, ["day/1.parquet", "day/2.parquet"]),
        ({"pattern": "*.csv"}, ["c.csv"]),
        ({"prefix": "[5", "pattern": "*"}, ["[5].parquet"]),
    ],
)
def test_buckets_name_files_by_prefix_and_pattern(folder: Path, model: dict[str, Any], names: list[str]) -> None:
    assert by_bucket(folder, **model) == names


def test_nothing_found_names_the_pattern_and_the_folder(folder: Path) -> None:
    with pytest.raises(PlanError, match=r"no\*\.parquet") as raised:
        by_path(folder, "no*.parquet")
    assert str(folder) in str(raised.value)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("*.csv", "a.csv", True),
        ("*.csv", "a/b.csv", False),
        ("**/*.csv", "a/b.csv", True),
        ("**/*.csv", "b.csv", True),
        ("**", "a/b", True),
        ("?.csv", "a.csv", True),
        ("?.csv", "/.csv", False),
        ("[!a].csv", "b.csv", True),
        ("[!a].csv", "a.csv", False),
        ("a+(b).csv", "a+(b).csv", True),
        ("a+.csv", "aa.csv", False),
    ],
)
def test_patterns_match_whole_names(pattern: str, name: str, fits: bool) -> None:
    assert bool(matcher(pattern).fullmatch(name)) is fits


def test_a_file_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.parquet")).touch()
    with pytest.raises(PlanError, match=r"expected a file name in UTF-8, got .*\\xff.parquet': rename it"):
        by_path(tmp_path, "*.parquet")
