from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.result import Line, Results

ROOT = Path(__file__).parent.parent.parent


def _benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_case_is_measured_printed_and_kept(tmp_path: Path) -> None:
    out = tmp_path / "results.json"

    done = _benchmarks("--only", "help", "--rounds", "2", "--peers-python", sys.executable, "--out", str(out))

    assert done.returncode == 0, done.stderr
    (line,) = json.loads(out.read_text())["lines"]
    assert (line["case"], line["unit"], line["met"]) == ("help", "s", line["ours"] <= 1.0)
    assert "[help] python -m beam_pipelines.etl --help" in done.stdout


def test_the_peers_must_be_installed_somewhere() -> None:
    done = _benchmarks("--only", "parquet", "--peers-python", "/nowhere/python")

    assert done.returncode == 2
    assert "make bench" in done.stderr


def test_a_program_that_fails_or_gives_other_rows_fails_the_benchmark() -> None:
    # The interpreter here has no peers: theirs is the program that fails.
    done = _benchmarks("--only", "parquet", "--rows", "100", "--rounds", "1", "--peers-python", sys.executable)

    assert done.returncode == 1
    assert "failed: parquet" in done.stderr


def test_the_page_is_what_the_results_say() -> None:
    render = "from benchmarks import report, __main__ as m; print(report.markdown(m.Results.read(m._RESULTS)), end='')"
    page = subprocess.run([sys.executable, "-c", render], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert (ROOT / "docs" / "benchmarks.md").read_text() == page


def test_cases_that_are_measured_anew_take_the_place_of_themselves() -> None:
    line = Line("help", "a", 1.0, "s", made="2026-01-01", rounds=3)
    before = Results("2026-01-01", {"cores": "2"}, {"rows": 10}, {"ours": {"a": "1"}}, [line, Line("quality", "b", 2.0, "s")], "slow")
    newer = Results(
        "2026-02-02", {"cores": "2"}, {"rows": 10}, {"ours": {"b": "2"}}, [Line("parquet", "c", 3.0, "s"), Line("help", "a", 4.0, "s")]
    )
    found = before.with_cases(newer, ["help", "parquet", "quality"])
    assert [(one.case, one.ours) for one in found.lines] == [("help", 4.0), ("parquet", 3.0), ("quality", 2.0)]
    assert (found.made, found.versions, found.remark) == ("2026-02-02", {"ours": {"a": "1", "b": "2"}}, "slow")
