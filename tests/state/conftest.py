"""A store on each database, with a clock that tests set, and helpers that run in processes of their own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import beam_pipelines
from beam_pipelines.state import StateStore

SCRIPT = Path(__file__).with_name("processes.py")


class Clock:
    """Time that passes when a test says so."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **units: float) -> None:
        self.now += timedelta(**units)


class Child:
    """A process that runs `processes.py`, one line to and fro."""

    def __init__(self, *arguments: str) -> None:
        root = str(Path(beam_pipelines.__file__).parent.parent)
        paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, str(SCRIPT), *arguments], env={**os.environ, "PYTHONPATH": paths}, **pipes)

    @property
    def pid(self) -> int:
        return self.process.pid

    def say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> str:
        out, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0
        return out


@pytest.fixture(scope="session")
def processes() -> ModuleType:
    """The script as a module: what children do, and the runs they do it with."""
    spec = importlib.util.spec_from_file_location("beam_pipelines_state_processes", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clock(processes: ModuleType) -> Clock:
    return Clock(processes.START)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty place for a store, on each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    url: str = request.getfixturevalue("postgres_database")
    return url


@pytest.fixture
def open_store() -> Iterator[Callable[..., StateStore]]:
    with ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(StateStore(url, **options))


@pytest.fixture
def store(store_url: str, clock: Clock, open_store: Callable[..., StateStore]) -> StateStore:
    return open_store(store_url, clock=clock)


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    """Start children; those still there at the end are killed."""
    started: list[Child] = []

    def start(*arguments: str) -> Child:
        started.append(Child(*arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()
        for stream in (one.process.stdin, one.process.stdout):
            if stream and not stream.closed:
                stream.close()
