"""Rows as requests: how they are cut, what stands for each, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator

import pyarrow as pa
import pytest

from beam_pipelines.errors import FatalError, SpecError
from beam_pipelines.io.http import client, sink
from beam_pipelines.io.http.client import Refusal
from beam_pipelines.io.http.place import HttpPlace
from beam_pipelines.io.http.sink import Post, posts, send
from beam_pipelines.testing.api import Api, Asked, Reply, serving


def block(first: int, last: int, **more: object) -> pa.RecordBatch:
    rows = [{"id": number, "name": f"n{number}", **more} for number in range(first, last + 1)]
    return pa.RecordBatch.from_pylist(rows)


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(lambda asked: Reply(202, b"taken, thank you")) as served:
        yield served


@pytest.fixture(autouse=True)
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_BACK_OFF", lambda state: 0.001)


def sent(api: Api, calls: list[Post], path: str = "/v1/events/?source=s%2F1", token: str | None = "t0ken") -> list[tuple[Post, Refusal]]:
    refused: list[tuple[Post, Refusal]] = []
    asyncio.run(send(HttpPlace.at(api.url + path, token, "the API"), calls, lambda post, why: refused.append((post, why))))
    return refused


def test_rows_are_cut_by_their_number_wherever_blocks_end_and_keep_their_order() -> None:
    made = list(posts([block(0, 4), block(5, 5), block(6, 10)], 4, "service", "sinks[1]", "run"))
    assert [[row["id"] for row in json.loads(post.body)] for post in made] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert [(post.first, post.count) for post in made] == [(0, 4), (4, 4), (8, 3)]
    assert json.loads(made[0].body)[0] == {"id": 0, "name": "n0"}
    assert list(posts([], 4, "s")) == []


def test_a_key_is_of_the_names_the_place_and_the_body() -> None:
    def keys(rows: pa.RecordBatch, most: int = 2, *names: str) -> list[str]:
        return [post.key for post in posts([rows], most, *(names or ("service", "sinks[1]", "run")))]

    once = keys(block(0, 5))
    assert keys(block(0, 5)) == once
    assert len(set(once)) == 3
    alike = pa.RecordBatch.from_pylist([{"id": 1, "name": "n"}] * 4)
    assert len(set(keys(alike))) == 2  # the same rows a second time are others
    for other in (keys(block(0, 5), 2, "service", "sinks[1]", "another"), keys(block(0, 5), 2, "service", "late", "run")):
        assert not set(other) & set(once)
    # A definition that cuts them anew: an API must not take rows for those that it has.
    assert not set(keys(block(0, 5), 3)) & set(once)


def test_large_rows_make_small_requests_and_the_largest_travels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "_MOST_BYTES", 10_000)
    wide = [block(number, number, text="x" * size) for number, size in enumerate((4_000, 4_000, 4_000, 50_000, 10, 10))]
    made = list(posts(wide, 1000, "s"))
    assert [[row["id"] for row in json.loads(post.body)] for post in made] == [[0, 1], [2], [3], [4, 5]]
    assert [post.key for post in posts([pa.Table.from_batches(wide).combine_chunks().to_batches()[0]], 1000, "s")] == [
        post.key for post in made
    ]


def test_rows_that_are_small_but_for_their_names_make_small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "_LONGEST_BODY", 2_500)
    names = ["id", *(f"a column whose name is long, number {number}" for number in range(20))]  # about 1 kB a row
    blocks = [pa.RecordBatch.from_pylist([{name: number if name == "id" else None for name in names}]) for number in range(7)]
    made = list(posts(blocks, 1000, "s"))
    assert [[row["id"] for row in json.loads(post.body)] for post in made] == [[0], [1, 2], [3, 4], [5, 6]]
    assert [(post.first, post.count) for post in made] == [(0, 1), (1, 2), (3, 2), (5, 2)]
    assert len({post.key for post in made}) == 4


def test_a_request_has_key_and_token_and_goes_where_the_endpoint_says(api: Api) -> None:
    made = list(posts([block(0, 4)], 2, "s"))
    assert sent(api, made) == []
    assert {asked.target for asked in api.asked} == {"/v1/events/?source=s%2F1"}
    assert {asked.headers["authorization"] for asked in api.asked} == {"Bearer t0ken"}
    assert {asked.headers["content-type"] for asked in api.asked} == {"application/json"}
    got = {asked.headers["idempotency-key"]: asked.body for asked in api.asked}
    assert got == {post.key: json.loads(post.body) for post in made}
    assert {asked.method for asked in api.asked} == {"POST"}


def test_without_a_key_of_its_own_nothing_is_said_of_who_asks(api: Api) -> None:
    assert sent(api, list(posts([block(0, 1)], 2, "s")), token=None) == []
    assert "authorization" not in api.asked[0].headers


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_may_pass_is_sent_again_with_the_same_key_and_body(api: Api, status: int) -> None:
    left = [Reply(status, headers={"Retry-After": "0"} if status == 429 else {})] * 2
    api.answer = lambda asked: left.pop() if left else Reply(204, b"")
    assert sent(api, list(posts([block(0, 4)], 1000, "s"))) == []
    assert len(api.asked) == 3
    assert len({(asked.headers["idempotency-key"], json.dumps(asked.body)) for asked in api.asked}) == 1


def test_what_does_not_pass_may_another_time(api: Api) -> None:
    api.answer = lambda asked: Reply(503)
    ((_, why),) = sent(api, list(posts([block(0, 0)], 1, "s")))
    assert (why.passing, why.status, why.message) == (True, 503, "the server answered 503, 5 times")


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 422])
def test_what_is_refused_is_told_with_its_status_and_the_others_are_sent(api: Api, status: int) -> None:
    api.answer = lambda asked: Reply(status if asked.body[0]["id"] == 2 else 200, {"error": "n2"})
    ((post, why),) = sent(api, list(posts([block(0, 9)], 2, "s")))
    assert (post.first, why.status, why.passing, why.message) == (2, status, False, f"the server answered {status}")
    assert len(api.asked) == 5


def test_401_ends_all(api: Api) -> None:
    api.answer = lambda asked: Reply(401)
    with pytest.raises(FatalError, match=r"^the API: the API answered 401") as caught:
        sent(api, list(posts([block(0, 999)], 1, "s")))
    assert caught.value.code == "authentication-failed"
    assert len(api.asked) <= 4


def test_a_server_that_is_not_there_is_asked_for_nothing_else(api: Api) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refused: list[Refusal] = []
        place = HttpPlace.at(f"http://127.0.0.1:{taken.getsockname()[1]}/", None, "the API")
        asyncio.run(send(place, posts([block(0, 0)], 1, "s"), lambda post, why: refused.append(why)))
    assert [(why.passing, why.status) for why in refused] == [(True, None)]


def test_no_redirection_turns_rows_that_are_sent_into_a_page_that_is_asked_for(api: Api) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.target.startswith("/kept"):
            return Reply(308, headers={"Location": "/there"})
        return Reply(302, headers={"Location": "/page"}) if asked.target.startswith("/turned") else Reply(200)

    api.answer = answer
    made = list(posts([block(0, 1)], 2, "s"))
    assert sent(api, made, "/kept") == []
    assert [(asked.method, asked.target, asked.headers["idempotency-key"]) for asked in api.asked] == [
        ("POST", "/kept", made[0].key),
        ("POST", "/there", made[0].key),
    ]
    ((_, why),) = sent(api, made, "/turned")
    assert (why.passing, why.status) == (False, None)
    assert "302" in why.message


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"x" * 3_000_000),
        Reply(200, b"<html>"),
        Reply(200, b"1", drip=True),
    ],
    ids=["large", "no JSON", "endless"],
)
def test_of_an_answer_nothing_counts_but_its_status(api: Api, reply: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PATIENCE", 0.05)
    api.answer = lambda asked: reply
    assert sent(api, list(posts([block(0, 0)], 1, "s"))) == []
    assert len(api.asked) == 1


@pytest.mark.parametrize("endpoint", ["http://host:99999/", "http://[::1/x"])
def test_a_url_that_cannot_be_understood_is_not_shown(endpoint: str) -> None:
    with pytest.raises(SpecError, match="host and port") as caught:
        HttpPlace.at(endpoint, None, "the API")
    assert endpoint not in str(caught.value)


@pytest.mark.parametrize("token", ["", " ", "a\nb"])
def test_a_token_that_cannot_be_sent_is_refused(token: str) -> None:
    with pytest.raises(SpecError, match="token"):
        HttpPlace.at("http://host/", token, "the API")
