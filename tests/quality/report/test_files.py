from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.errors import SpecError
from beam_pipelines.quality.report import files, make, write


@pytest.mark.parametrize(
    ("name", "begins"), [("r.html", b"<!DOCTYPE html>"), ("r.json", b"{"), ("r.xml", b"<?xml"), ("R.HTML", b"<!DOCTYPE")]
)
def test_the_suffix_says_what_is_written(samples: Any, tmp_path: Path, name: str, begins: bytes) -> None:
    write(tmp_path / name, make(samples.rich()))
    assert (tmp_path / name).read_bytes().startswith(begins)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("r.pdf", "name ends in .html"),
        ("report", "name ends in .html"),
        ("missing/r.html", "is not there"),
        ("folder.html", "got the folder"),
    ],
)
def test_what_cannot_be_a_report_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(SpecError, match=message) as caught:
        files.check([str(tmp_path / "good.json"), str(tmp_path / name)])
    assert caught.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]


@pytest.mark.parametrize("name", ["r.html", "r.json", "r.xml"])
def test_a_report_that_cannot_be_written_leaves_the_old_one(
    samples: Any, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_text("old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, make(samples.rich()))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_link_leads_to_is_replaced_and_a_pipe_is_written_to(samples: Any, tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    write(tmp_path / "link.json", make(samples.rich()))
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())["status"] == "failed"
    pipe, read = tmp_path / "pipe.json", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write(pipe, make(samples.rich()))
    reader.join()
    assert json.loads(read[0])["status"] == "failed"


def test_json_holds_every_text_as_it_was(samples: Any, tmp_path: Path) -> None:
    write(tmp_path / "r.json", make(samples.hostile()))
    told = json.loads((tmp_path / "r.json").read_bytes().decode("utf-8"))
    values = {rule["rule"]: rule["examples"][0]["value"] for rule in told["steps"][0]["rules"] if "examples" in rule}
    assert values == samples.HOSTILE
