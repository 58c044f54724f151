"""Every code block of README.md and docs/ is run, page by page, each page in a folder of its own.

How a block is run follows from its language and its first line:

- `yaml`, `python` or `json` that begins with a comment with a file's name (`# service.yaml`) is written to that file.
- `yaml` that begins with a file and a place in it (`# service.yaml: pipeline.source`) is put there into a copy of that definition, which is
  planned, and previewed when it has steps.
- `yaml` without a name is read; a whole definition is loaded.
- `python` without a name is run in the page's namespace; one with `>>>` is a doctest.
- `console`: each `$ command` is run, and the lines below it must come in its output, in this order. `...` is anything; run ids, times
  and durations may differ. A run id of the page stands for the real one from there on. `# exits with N`: its exit code.
- `json` is parsed; `text` is not looked at.

`beam-pipelines` and `python -m beam_pipelines.etl` run in this process, for Beam is imported once then; those of README.md in processes of
their own, as a user would run them.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import logging
import os
import re
import shlex
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"yaml", "python", "console", "json", "text"}

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^# ([\w./-]+\.\w+)$")
_PLACE = re.compile(r"^# ([\w./-]+\.ya?ml): ([\w.]+)$")
_EXITS = re.compile(r"\s+# exits with (\d+)$")
# What differs from run to run; the first group is a run id.
_VARIES = re.compile(
    r"(?P<id>\b[0-9a-f]{12}\b)"
    r"|(?P<time>\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|\+00:00)?)"
    r"|(?P<span>\b\d+(?:\.\d+)? (?:ms|s)\b)"
    r"|(?P<any>\.\.\.)"
    r"|(?P<space>\s+)"
)
_PATTERNS = {
    "id": r"([0-9a-f]{12})",
    "time": r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|\+00:00)?",
    "span": r"[\d.]+ (?:ms|s)",
    "any": r".*",
    "space": r"\s+",
}


@dataclass(frozen=True)
class Block:
    """One code block; `line` is that of its first line of code."""

    language: str
    text: str
    line: int

    @property
    def first(self) -> str:
        return self.text.partition("\n")[0]


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1) for found in _BLOCK.finditer(text)]


@dataclass
class Reader:
    """Somebody who types what a page shows."""

    page: Path
    folder: Path
    environ: dict[str, str]
    as_processes: bool
    runs: dict[str, str] = field(default_factory=dict)  # run id on the page: the real one
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def read(self, block: Block) -> None:
        if block.language == "console":
            self.console(block)
        elif block.language == "json":
            json.loads(block.text)
        elif found := _PLACE.match(block.first):
            self.fragment(found[1], found[2], block.text)
        elif found := _FILE.match(block.first):
            path = self.folder / found[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "yaml":
            self.yaml(block.text)
        elif block.language == "python":
            self.python(block)

    def yaml(self, text: str) -> None:
        from beam_pipelines.spec import loads

        value = _yaml(text)
        if isinstance(value, dict) and {"pipeline", "name"} <= set(value):
            loads(text, "block.yaml")

    def fragment(self, file: str, place: str, text: str) -> None:
        """Plan a definition with a part of it exchanged, and preview it when it has steps."""
        from beam_pipelines import Service

        whole = _yaml((self.folder / file).read_text(encoding="utf-8"))
        holder = whole
        *parents, last = place.split(".")
        for key in parents:
            holder = holder.setdefault(key, {})
        holder[last] = _yaml(text)
        # Beside the definition, where functions.py is; hidden, so that commands that look for the only definition do not find two.
        path = self.folder / ".fragment.json"
        path.write_text(json.dumps(whole, default=str), encoding="utf-8")
        try:
            service = Service.load(path)
            service.plan()
            if service.definition.steps:
                preview = service.preview(limit=200)
                assert preview.rows, preview.dead
        finally:
            path.unlink()

    def python(self, block: Block) -> None:
        if ">>>" in block.text:
            options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            case = doctest.DocTestParser().get_doctest(block.text, self.names, "block", str(self.page), block.line)
            said = io.StringIO()
            doctest.DocTestRunner(optionflags=options).run(case, out=said.write, clear_globs=False)
            assert not said.getvalue(), said.getvalue()
            self.names.update(case.globs)
            return
        code = compile("\n" * (block.line - 1) + block.text, str(self.page), "exec")
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, self.names)

    def console(self, block: Block) -> None:
        lines = textwrap.dedent(block.text).rstrip("\n").split("\n")
        assert lines[0].startswith("$ "), f"a console block begins with a command, got {lines[0]!r}"
        commands: list[tuple[str, list[str]]] = []
        for line in lines:
            if line.startswith("$ "):
                commands.append((line[2:], []))
            elif commands[-1][0].endswith("\\"):
                commands[-1] = (commands[-1][0][:-1] + line.strip(), [])
            else:
                commands[-1][1].append(line)
        for command, expected in commands:
            self.command(command, expected)

    def command(self, command: str, expected: list[str]) -> None:
        exits = _EXITS.search(command)
        command = _EXITS.sub("", command)
        for shown, real in self.runs.items():
            command = command.replace(shown, real)
        if found := re.fullmatch(r"export (\w+)=(.*)", command):
            self.environ[found[1]] = os.environ[found[1]] = shlex.split(found[2])[0] if found[2] else ""
            return
        code, output = self.run(command)
        if code != int(exits[1] if exits else 0):
            raise AssertionError(f"$ {command}\nexited with {code}\n{output}")
        self.compare(command, expected, output)

    def run(self, command: str) -> tuple[int, str]:
        words = [] if re.search(r"[|;&<>`*]|\$\(", command) else shlex.split(os.path.expandvars(command))
        if not self.as_processes and words[:1] == ["beam-pipelines"]:
            return _here("beam_pipelines.cli.main", words[1:])
        modules = {f"beam_pipelines.{kind}": f"beam_pipelines.cli.{kind}" for kind in ("etl", "batch", "stream")}
        if not self.as_processes and words[:2] == ["python", "-m"] and words[2] in modules:
            return _here(modules[words[2]], words[3:])
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout

    def compare(self, command: str, expected: list[str], output: str) -> None:
        """Find the expected lines in the output, in their order."""
        said = [line.strip() for line in output.splitlines()]
        at = 0
        for line in expected:
            if line.strip() in ("", "..."):
                continue
            ids = re.findall(r"\b[0-9a-f]{12}\b", line)
            pattern = re.compile(_pattern(line.strip()))
            found = next(((index, match) for index in range(at, len(said)) if (match := pattern.fullmatch(said[index]))), None)
            if found is None:
                raise AssertionError(f"$ {command}\nexpected the line\n  {line.strip()}\nin what came:\n{output}")
            at = found[0] + 1
            for shown, real in zip(ids, found[1].groups(), strict=True):
                known = self.runs.setdefault(shown, real)
                assert known == real, f"$ {command}\nexpected run {known}, which {shown} stands for, got {real}"


def _pattern(line: str) -> str:
    parts, at = [], 0
    for found in _VARIES.finditer(line):
        parts += [re.escape(line[at : found.start()]), _PATTERNS[found.lastgroup or "any"]]
        at = found.end()
    return "".join([*parts, re.escape(line[at:])])


def _yaml(text: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(text)


def _here(module: str, words: list[str]) -> tuple[int, str]:
    """Run a command line in this process: its `main`, with both streams in one."""
    import importlib

    said = io.StringIO()
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            try:
                code = importlib.import_module(module).main(words)
            except SystemExit as left:
                code = int(left.code or 0)
    finally:
        root.handlers[:] = kept
        root.setLevel(level)
        logging.captureWarnings(False)
    return code, said.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, and no connections in the environment; the import path as it was, afterwards."""
    for name in [name for name in os.environ if name.startswith("BEAM_PIPELINES_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", sys.path[:])
    where = tmp_path / "work"
    where.mkdir()
    monkeypatch.chdir(where)
    before = dict(os.environ)
    yield where
    os.environ.clear()
    os.environ.update(before)


@contextlib.contextmanager
def _brokers(page: Path, environ: dict[str, str]) -> Iterator[None]:
    """Brokers of a page that reads their address from the variable BROKERS."""
    if "BROKERS" not in page.read_text(encoding="utf-8"):
        yield
        return
    from beam_pipelines.testing.kafka import mock_broker

    with mock_broker() as broker:
        environ["BROKERS"] = os.environ["BROKERS"] = broker.servers
        yield


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_blocks_run_and_say_what_the_page_says(page: Path, folder: Path, request: pytest.FixtureRequest) -> None:
    found = blocks(page)
    unknown = [f"{page}:{block.line}: {block.language or 'no language'}" for block in found if block.language not in LANGUAGES]
    assert not unknown, unknown
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
    if "PG_URL" in page.read_text(encoding="utf-8"):
        environ["PG_URL"] = os.environ["PG_URL"] = request.getfixturevalue("postgres_database")
    reader = Reader(page, folder, environ, as_processes=page.name == "README.md")
    failures = []
    with _brokers(page, environ):
        for block in found:
            try:
                reader.read(block)
            except Exception as error:  # noqa: BLE001 (all mistakes of a page at once: a page is read from top to bottom)
                what = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
                failures.append(f"{page.relative_to(ROOT)}:{block.line}: {what}")
    if failures:
        pytest.fail("\n\n".join(failures), pytrace=False)


def test_every_page_is_found_and_has_code_where_it_should() -> None:
    by_name = {page.name: blocks(page) for page in PAGES}
    for name in ("README.md", "write-a-service.md", "incremental-loads.md", "connections-and-secrets.md", "when-it-dies.md", "errors.md"):
        assert any(block.language == "console" for block in by_name[name]), name
