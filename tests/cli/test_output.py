from __future__ import annotations

import json
import subprocess
import sys

import pytest

PURE = """
import os, sys
from beam_pipelines.cli.output import Output
with Output.opened(as_json=True) as out:
    print("a function prints")
    os.write(1, b"a driver writes\\n")
    os.system("echo a child echoes")
    out.line("for people")
    out.json({"b": 1, "a": "ü"})
print("after")
"""


def run(code: str, **settings):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8", **settings)


def test_json_is_alone_on_stdout_whatever_else_prints():
    done = run(PURE)
    assert done.stdout == '{\n  "b": 1,\n  "a": "ü"\n}\nafter\n'
    assert done.stderr.splitlines() == ["a function prints", "a driver writes", "a child echoes"]


def test_a_reader_that_goes_away_is_no_error():
    code = """
from beam_pipelines.cli.output import Output
with Output.opened(as_json=False) as out:
    for n in range(200_000):
        out.line(f"line {n}")
print("still here", file=__import__("sys").stderr)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    assert process.stderr.read() == "still here\n"
    assert process.wait() == 0
    process.stderr.close()


def test_secrets_are_taken_out_of_texts_tables_and_json(capsys):
    from beam_pipelines.cli.output import Output
    from beam_pipelines.cli.table import Table

    for as_json in (False, True):
        out = Output(sys.stdout, as_json=as_json, redact=lambda text: text.replace("hunter2", "***"))
        out.line("it is hunter2")
        out.table(Table(["a"], [["hunter2"]]))
        out.pairs([("password", "hunter2")])
        if as_json:
            out.json({"password": "hunter2"})
    shown = capsys.readouterr().out
    assert "hunter2" not in shown
    assert shown.count("***") == 4


def test_pairs_are_aligned_and_several_lines_stand_below_each_other(capsys):
    from beam_pipelines.cli.output import Output

    Output(sys.stdout).pairs([("a", "1\n2"), ("long", "3"), ("none", "")])
    assert capsys.readouterr().out == "  a     1\n        2\n  long  3\n  none\n"


def test_a_secret_that_json_escapes_is_found_all_the_same(capsys):
    from beam_pipelines.cli.output import Output

    Output(sys.stdout, as_json=True, redact=lambda text: text.replace('a"b\\ü', "***")).json({"said": ('it is a"b\\ü', 7)})
    assert capsys.readouterr().out == '{\n  "said": [\n    "it is ***",\n    7\n  ]\n}\n'


def test_json_takes_half_a_surrogate_pair_too():
    done = run("from beam_pipelines.cli.output import Output\nwith Output.opened(as_json=True) as out: out.json(['a\\ud800b', 'ü'])")
    assert json.loads(done.stdout) == ["a\ud800b", "ü"]


FULL = """
import sys
from beam_pipelines.cli.main import main
sys.argv = ["beam-pipelines", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("words", [["schema"], ["runs", "list", "--state", "state.db", "--output", "json"]])
def test_an_answer_that_cannot_be_written_fails_the_command_and_says_why(words, tmp_path):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", FULL, *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "error: the answer cannot be written to stdout: no space left on device" in done.stderr


def test_a_process_without_stdout_and_stderr_does_what_it_is_told(tmp_path):
    file = tmp_path / "seen.txt"
    code = """
import sys
from beam_pipelines.cli.output import Output
for as_json in (False, True):
    with Output.opened(as_json=as_json) as out:
        file = open(sys.argv[1], "a")
        out.line("for people")
        out.json({"a": 1})
        print("a function prints", file=sys.stderr)
        file.write("done\\n")
        file.close()
"""
    done = subprocess.run(["sh", "-c", '"$0" -c "$1" "$2" >&- 2>&-', sys.executable, code, str(file)], check=False)
    assert done.returncode == 0
    assert file.read_text() == "done\ndone\n"
