"""Connections to APIs: what they may hold, and that nothing of it is shown."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.errors import BeamPipelinesError
from beam_pipelines.io.connections import Connections
from beam_pipelines.io.http.place import HttpPlace


def place(tmp_path: Path, value: str, **environ: str) -> HttpPlace:
    (tmp_path / "connections.yaml").write_text(f"api: {value}\n")
    return HttpPlace.of(Connections(tmp_path / "connections.yaml", environ).get("api"))


@pytest.mark.parametrize(
    ("value", "base", "query", "headers"),
    [
        ("https://api.example.com", "https://api.example.com", "", {}),
        ("http://localhost:8080/v1/", "http://localhost:8080/v1", "", {}),
        ("{url: https://x.example, token: '${env:TOKEN}'}", "https://x.example", "", {"Authorization": "Bearer t/0ken"}),
        ("{url: https://x.example, headers: {X-Key: '${env:TOKEN}', X-Of: b}}", "https://x.example", "", {"X-Key": "t/0ken", "X-Of": "b"}),
        ("{url: https://x.example, user: me, password: '${env:TOKEN}'}", "https://x.example", "", {"Authorization": "Basic bWU6dC8wa2Vu"}),
        ("https://me:t%2F0ken@x.example", "https://x.example", "", {"Authorization": "Basic bWU6dC8wa2Vu"}),
        ("https://x.example/?key=${env:TOKEN}", "https://x.example", "key=t%2F0ken", {}),
        ("${env:URL}", "https://y.example/v2", "", {}),
        ("{url: '${env:URL}', token: '${env:TOKEN}'}", "https://y.example/v2", "", {"Authorization": "Bearer t/0ken"}),
    ],
)
def test_places(tmp_path: Path, value: str, base: str, query: str, headers: dict[str, str]) -> None:
    found = place(tmp_path, value, TOKEN="t/0ken", URL="https://y.example/v2/")
    assert (found.base, found.query, found.headers) == (base, query, headers)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("crm.sqlite", "expected a connection to an HTTP API"),
        ("{url: https://x.example, apikey: s3cret}", "unknown key 'apikey'; expected url, user, password, token, headers"),
        ("{url: https://x.example, token: s3cret, user: me}", "expected a token, or user and password, got both"),
        ("{url: https://x.example, headers: [s3cret]}", "expected names with a text each as 'headers'"),
        ("{url: https://x.example, headers: {Host: s3cret}}", "the header 'Host' is set by the client itself"),
        ('{url: https://x.example, token: "s3cret\\r\\nHost: evil"}', "without line breaks"),
        ("http://x.example:99999/v1", "expected a URL whose host and port can be understood"),
        ("{url: https://x.example, headers: {X-Key: s3cret, x-key: s3cret}}", "got two whose names differ in case alone"),
        ("{url: https://x.example, token: s3cret, headers: {authorization: s3cret}}", "or a header 'Authorization', got two of them"),
        ("'https://'", "expected a URL of http or https with a host"),
        ("{url: https://x.example, token: '${env:TOKEN}'}", "needs the environment variable 'TOKEN'"),
    ],
)
def test_refused_places_say_why_and_show_no_secret(tmp_path: Path, value: str, expected: str) -> None:
    with pytest.raises(BeamPipelinesError) as raised:
        place(tmp_path, value)
    assert expected in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_place_is_neither_shown_nor_pickled(tmp_path: Path) -> None:
    found: Any = place(tmp_path, "{url: https://x.example, token: s3cret}")
    assert repr(found) == "HttpPlace('api')"
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(found)
