from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from beam_pipelines.cli import log
from beam_pipelines.cli.workers import FORWARDER


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("apache_beam", "urllib3", "google", "sqlglot", "asyncio", FORWARDER)}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    log.concern("", "")
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def hide(text: str) -> str:
    return text.replace("hunter2", "***")


def test_a_json_line_has_time_level_logger_message_run_and_service(capsys):
    log.configure("info", "json", hide)
    log.concern("customers", "abc123")
    logging.getLogger("beam_pipelines.engine").info("read %d rows with %s", 7, "hunter2")
    line = json.loads(capsys.readouterr().err)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "beam_pipelines.engine",
        "message": "read 7 rows with ***",
        "runId": "abc123",
        "serviceId": "customers",
    }


def test_a_text_line_has_the_run(capsys):
    log.configure("info", "text", hide)
    log.concern("customers", "abc123")
    logging.getLogger("mine").warning("hunter2 is short")
    assert capsys.readouterr().err.endswith(" warning [abc123] *** is short\n")


@pytest.mark.parametrize("form", log.FORMATS)
def test_tracebacks_are_for_debug_only(form, capsys):
    def fail() -> None:
        try:
            raise ValueError("hunter2 leaks")
        except ValueError:
            logging.getLogger("mine").exception("it failed")

    log.configure("info", form, hide)
    fail()
    assert "Traceback" not in capsys.readouterr().err
    log.configure("debug", form, hide)
    fail()
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "hunter2" not in shown


def test_beam_is_heard_from_warnings_on_and_never_of_itself(capsys):
    log.configure("info", "text", hide)
    beam = logging.getLogger("apache_beam.runners.common")
    beam.info("noise")
    try:
        raise ValueError("told once already")
    except ValueError as error:
        beam.exception(error)
    beam.warning("worth knowing")
    assert capsys.readouterr().err.splitlines()[0].endswith("worth knowing")


def test_quiet_levels_keep_the_users_code_quiet_too(capsys):
    log.configure("warning", "text", hide)
    logging.getLogger("users.functions").info("noise")
    logging.getLogger("users.functions").warning("signal")
    assert [line.rpartition(" ")[2] for line in capsys.readouterr().err.splitlines()] == ["signal"]


def test_warnings_of_libraries_are_lines_too(capsys):
    import warnings

    log.configure("info", "json", hide)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    line = json.loads(capsys.readouterr().err)
    assert line["level"] == "warning"
    assert "DeprecationWarning: old" in line["message"]
