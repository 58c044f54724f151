"""`make demo` types this command; it holds what it shows against the two databases itself, and fails when something is not true."""

from __future__ import annotations

import subprocess
import sys


def test_the_demo_runs_twice_and_all_that_it_shows_is_true(tmp_path):
    command = [sys.executable, "-m", "beam_pipelines.examples.demo", "--dir", "shown"]
    shown = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert shown.returncode == 0, shown.stdout
    lines = [line.strip() for line in shown.stdout.splitlines()]
    typed = [line for line in lines if line.startswith("$ ")]
    assert typed[0] == typed[1] == "$ python -m beam_pipelines.etl --runner=DirectRunner --example-dir shown"
    assert sum(line.startswith("checked: every customer of the CRM is in the warehouse") for line in lines) == 2
    assert "checked: the second run read exactly these" in lines
    assert any(line.startswith("CRM") and "250,000 customers" in line for line in lines)
    assert sum("success" in line for line in lines[lines.index(typed[-2]) :]) == 2  # both runs in the list


def test_the_demo_never_uses_a_folder_that_is_there(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note").write_text("keep")
    command = [sys.executable, "-m", "beam_pipelines.examples.demo", "--dir", "mine"]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "expected a folder that is not there yet, got 'mine'" in refused.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["note"]
