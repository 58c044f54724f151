from __future__ import annotations

import os
import shutil
from pathlib import Path

import certifi
import pytest

from beam_pipelines.errors import SpecError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.kafka.consumer import Reader
from beam_pipelines.io.secret import Secrets
from tests.io.kafka.conftest import connection


def test_settings_that_decide_what_is_read_are_not_the_connections() -> None:
    for settings, what in (
        ({"enable.auto.commit": True}, "'enable.auto.commit' is not the connection's"),
        ({"acks": 1}, "'acks' is not the connection's"),
        ({"sasl.mechanism": ["a"]}, "expected text or a number as 'sasl.mechanism', got a list"),
        ({"no.such.setting": "x"}, 'No such configuration property: "no.such.setting"'),
        ({"security.protocol": "smoke"}, "security.protocol"),
    ):
        with pytest.raises(SpecError, match=what) as no:
            Reader(connection("127.0.0.1:1", **settings))
        assert no.value.code == "connection-invalid"


def test_a_password_is_in_no_message() -> None:
    secret = "hunter2hunter2"
    given = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "u",
        "sasl.password": secret,
    }
    with pytest.raises(SpecError) as no:
        Reader(connection("127.0.0.1:1", **given, **{"socket.timeout.ms": secret}))
    assert secret not in str(no.value)
    assert secret not in connection("127.0.0.1:1", **given).display


def test_paths_start_from_the_folder_of_the_connections_file(tmp_path: Path) -> None:
    settings = {"bootstrap.servers": "127.0.0.1:1", "security.protocol": "SSL", "ssl.ca.location": "certificates/ca.pem"}
    given = Connection("kafka", "kafka", settings, tmp_path, Secrets(os.environ, tmp_path))
    with pytest.raises(SpecError, match=r"ssl\.ca\.location failed") as no:
        Reader(given)
    assert no.value.code == "connection-invalid"
    (tmp_path / "certificates").mkdir()
    shutil.copy(certifi.where(), tmp_path / "certificates" / "ca.pem")
    Reader(given).close()
