from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines import Service
from beam_pipelines.cli import files, main, plan
from beam_pipelines.cli.output import Output
from beam_pipelines.cli.redaction import Redactor
from beam_pipelines.cli.session import Session
from beam_pipelines.state.record import Files

DEFINITION = """\
name: Exports
batch:
  source: {type: s3, bucket: raw, prefix: daily/, pattern: "*.csv.gz", columns: {id: bigint}}
  processing:
    transformations:
      - {id: small, type: filter, condition: id < 100}
  destination: {type: s3, bucket: done, prefix: clean/, format: jsonl, compression: gzip}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "service.yaml").write_text(DEFINITION)
    (tmp_path / "connections.yaml").write_text("raw: {path: raw}\ndone: {path: done}\n")
    (tmp_path / "raw" / "daily").mkdir(parents=True)
    for number in range(5):
        put(tmp_path, f"{number}.csv.gz", number)
    return tmp_path


def put(folder: Path, name: str, *ids: int) -> int:
    content = gzip.compress("".join(f"{line}\n" for line in ("id", *ids)).encode(), mtime=0)
    (folder / "raw" / "daily" / name).write_bytes(content)
    return len(content)


def shown(service: Service) -> list[str]:
    stream = io.StringIO()
    plan.show(Session(Output(stream), Redactor()), service.plan())
    return stream.getvalue().splitlines()


def block(lines: list[str], head: str) -> list[str]:
    behind = lines[lines.index(head) + 1 :]
    return behind[: behind.index("")] if "" in behind else behind


def test_the_plan_tells_what_is_new_what_is_done_what_waits_and_where_it_goes(folder: Path) -> None:
    service = Service.load(folder / "service.yaml")
    (folder / "raw" / "daily" / "4.csv.gz").write_bytes(b"no gzip")
    size = sum(file.stat().st_size for file in (folder / "raw" / "daily").iterdir())
    lines = shown(service)
    assert block(lines, "files") == [
        f"  5 to read, {size} B",
        "  - 1 of these cannot be read, by a first look, and would be dead letters",
    ]
    assert block(lines, "output") == [
        f"  JSON Lines, gzip, a file for each input, at {folder}/done/clean",
        "  - 0.jsonl.gz of daily/0.csv.gz",
        "  - 1.jsonl.gz of daily/1.csv.gz",
        "  - 2.jsonl.gz of daily/2.csv.gz",
        "  - and 2 more",
    ]
    assert not [line for line in lines if line.startswith("would read")]
    result = service.run()
    assert result.exit_code == 0
    assert "4 processed, 0 skipped, 1 that cannot be read" in result._repr_html_()
    size = put(folder, "0.csv.gz", 7, 8, 9)
    told = service.plan().to_json()["files"]
    assert told == {
        "new": 1,
        "bytes": size,
        "hidden": 0,
        "closed": [],
        "gone": 0,
        "broken": 0,
        "done": 4,
        "waiting": 1,
        "place": f"{folder}/done/clean",
        "form": "JSON Lines, gzip",
        "shardSize": None,
        "outputs": [{"file": "daily/0.csv.gz", "output": "0.jsonl.gz"}],
    }
    assert "1 to read, 4 skipped" in service.plan()._repr_html_()
    assert block(shown(service), "files")[1:] == [
        "  4 skipped: earlier runs are done with them",
        "  - 1 of these could not be read, and did not change since",
    ]


def test_a_preview_looks_at_files_whatever_runs_did_with_them_and_past_those_that_are_broken(folder: Path) -> None:
    service = Service.load(folder / "service.yaml")
    put(folder, "0.csv.gz", 1, 500, 2)
    (folder / "raw" / "daily" / "1.csv.gz").write_bytes(b"no gzip")
    first = service.preview(limit=4)
    assert [row["id"] for row in first.rows] == [1, 2, 2]  # 0, and of 2 its one row
    assert first.notes == ("1 of the files cannot be read: a run makes a dead letter of each, or stops (errorHandling)",)
    assert service.run().exit_code == 0
    assert service.preview(limit=4) == first


def test_a_preview_opens_the_first_hundred_files_alone(folder: Path) -> None:
    for number in range(120):
        put(folder, f"x{number:03d}.csv.gz", number)
    told = Service.load(folder / "service.yaml").preview(limit=1000)
    assert told.read == 100
    assert told.notes == ("the first 100 of 125 files are looked at, whatever runs did with them",)


def answered(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main.main(list(words))
    return code, capsys.readouterr().out


def test_a_test_of_connections_is_none_of_the_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "raw" / "daily" / "3.csv.gz").write_bytes(b"no gzip")
    code, out = answered(capsys, "connections", "test", str(folder / "service.yaml"))
    assert code == 0
    assert "5 CSV files, 1 column" in out
    assert "1 of them cannot be read" in out


def test_buckets_that_are_no_connections_are_those_of_their_names(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "connections.yaml").unlink()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "none"))
    code, out = answered(capsys, "connections", "test", str(folder / "service.yaml"))
    assert code == 1
    source, destination = (line.split() for line in out.splitlines()[1:])
    assert source[:4] == ["failed", "raw", "source", "s3://raw"]
    assert destination[:4] == ["failed", "done", "destination", "s3://done"]
    assert out.count("[authentication-failed]") == 2


def test_the_screen_tells_totals_and_twenty_files_those_that_failed_first() -> None:
    def told(name: str, **more: Any) -> dict[str, Any]:
        return {"file": name, "records": 1200, "recordsWritten": 1000, "rejected": 7, "bytes": 2048, "duration": 1500, **more}

    broken = told("bad.csv", error="it is cut off " * 10)
    done = Files(1_000, 1_000_000, 3 << 20, 40, 2, 1, (broken, *(told(f"{n}.csv", output=f"{n}.parquet") for n in range(999))))
    assert files.fact(done).splitlines() == [
        "1,000 processed, 3.0 MiB: 1,000,000 rows written",
        "- 1 cannot be read, and is a dead letter",
        "- 40 skipped: earlier runs are done with them",
        "- 2 of these could not be read, and did not change since",
    ]
    table = files.table(done)
    assert table is not None
    assert table.title == "the first 20 of 1,001 files; --output json tells more:"
    assert table.headings == ["file", "output", "records", "written", "rejected", "bytes", "time", "error"]
    assert len(table.rows) == 20
    assert table.rows[0][:2] == ["bad.csv", ""]
    assert (len(table.rows[0][7]), table.rows[0][7][-3:]) == (60, "...")
    assert list(table.rows[1]) == ["0.csv", "0.parquet", "1,200", "1,000", "7", "2.0 KiB", "1.5 s", ""]
    assert files.table(Files()) is None


def test_a_batch_is_validated_and_its_tests_are_carried_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tests = """\
tests:
  - name: small ones stay
    input: [{id: 5}, {id: 500}]
    expect: {small: [{id: %d}]}
"""
    (folder / "service.yaml").write_text(DEFINITION + tests % 5)
    code, out = answered(capsys, "validate", str(folder / "service.yaml"))
    assert (code, "of kind batch, 1 step" in out) == (0, True)
    assert answered(capsys, "test", str(folder / "service.yaml"))[0] == 0
    (folder / "service.yaml").write_text(DEFINITION + tests % 6)
    assert answered(capsys, "test", str(folder / "service.yaml"))[0] == 1
    assert sorted(path.name for path in folder.iterdir()) == ["connections.yaml", "raw", "service.yaml"]


def test_the_dead_letter_of_a_file_names_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = put(folder, "2.csv.gz", *range(1000))
    broken = (folder / "raw" / "daily" / "2.csv.gz").read_bytes()[: size - 20]
    (folder / "raw" / "daily" / "2.csv.gz").write_bytes(broken)
    assert Service.load(folder / "service.yaml").run().exit_code == 0
    code, out = answered(capsys, "dead-letters", "show", "--service", str(folder / "service.yaml"))
    assert code == 0
    assert "file-unreadable" in out
    assert '"$file": "daily/2.csv.gz"' in out
    assert f'"size": {size - 20}' in out
