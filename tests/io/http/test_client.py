"""The client against a server that fails in every way that servers do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import pytest

from beam_pipelines.errors import FatalError
from beam_pipelines.io.http.client import Client, Limits, Refusal
from beam_pipelines.io.http.json import Json
from beam_pipelines.io.http.place import HttpPlace
from beam_pipelines.testing.api import Api, Asked, Reply, serving

TOKEN = "s3cret-token"


@dataclass(frozen=True)
class Ask:
    target: str = "/v1/a"
    method: str = "GET"
    body: bytes | None = None


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(lambda asked: Reply(body={"target": asked.target})) as served:
        yield served


class Talk:
    """Asks a place, and notes how long it would have waited between tries."""

    def __init__(self, base: str, query: str = "") -> None:
        self.place = HttpPlace("companies", base, query, {"Authorization": f"Bearer {TOKEN}"})
        self.waits: list[float] = []

    def __call__(self, *calls: Ask, meanwhile: Callable[[Client], None] = lambda client: None, **limits: Any) -> list[Any]:
        async def slept(seconds: float) -> None:
            self.waits.append(seconds)
            meanwhile(client)

        async def talked() -> list[Any]:
            nonlocal client
            client = await Client(self.place, Limits(**limits), slept).open()
            try:
                return await client.ask(calls)
            finally:
                await client.close()

        client: Any = None
        return asyncio.run(talked())


def failing(times: int, reply: Reply) -> Callable[[Asked], Reply]:
    left = [reply] * times

    def answer(asked: Asked) -> Reply:
        return left.pop() if left else Reply(body={"n": 1})

    return answer


def test_an_answer_is_json_and_the_token_and_the_place_s_query_go_with_each_call(api: Api) -> None:
    talk = Talk(f"{api.url}/base", "key=1%2F2")
    assert talk(Ask("/v1/a%2Fb?x=%26"), Ask("/c", "POST", b'{"a":1}')) == [
        {"target": "/base/v1/a%2Fb?key=1%2F2&x=%26"},
        {"target": "/base/c?key=1%2F2"},
    ]
    assert {asked.headers["authorization"] for asked in api.asked} == {f"Bearer {TOKEN}"}
    assert [asked.body for asked in sorted(api.asked, key=lambda one: one.method)] == [None, {"a": 1}]


def test_answers_come_in_the_order_of_the_calls_and_no_more_are_under_way_than_may_be(api: Api) -> None:
    together = threading.Barrier(4)
    api.answer = lambda asked: Reply(body=together.wait(10) is not None and asked.target)
    targets = [f"/{number}" for number in range(12)]
    assert Talk(api.url)(*map(Ask, targets), concurrency=4) == targets
    assert api.most == 4


@pytest.mark.parametrize("status", [404, 204])
def test_what_is_not_there_is_none(api: Api, status: int) -> None:
    api.answer = lambda asked: Reply(status, b"")
    assert Talk(api.url)(Ask()) == [None]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 599])
def test_what_may_pass_is_tried_again_with_longer_and_longer_waits(api: Api, status: int) -> None:
    api.answer = failing(3, Reply(status))
    talk = Talk(api.url)
    assert (talk(Ask()), len(api.asked)) == ([{"n": 1}], 4)
    # After 429 all calls wait as long; no time passes in this test, so a try waits twice.
    waits = talk.waits[::2] if status == 429 else talk.waits
    assert all(low <= wait <= low + 0.25 for low, wait in zip((0.25, 0.5, 1.0), waits, strict=True))
    assert len(talk.waits) == (6 if status == 429 else 3)


def test_tries_come_to_an_end(api: Api) -> None:
    api.answer = lambda asked: Reply(503)
    assert Talk(api.url)(Ask(), retries=2) == [Refusal("the server answered 503, 3 times")]
    assert len(api.asked) == 3


@pytest.mark.parametrize("status", [400, 403, 410, 422])
def test_what_the_call_is_to_blame_for_is_not_tried_again(api: Api, status: int) -> None:
    api.answer = lambda asked: Reply(status, {"error": TOKEN})
    assert Talk(api.url)(Ask()) == [Refusal(f"the server answered {status}")]
    assert len(api.asked) == 1


@pytest.mark.parametrize("after", ["7", "date"])
def test_a_server_is_left_alone_as_long_as_it_asks_for(api: Api, after: str) -> None:
    api.answer = failing(1, Reply(429, headers={"Retry-After": formatdate(usegmt=True) if after == "date" else after}))
    talk = Talk(api.url)
    assert talk(Ask()) == [{"n": 1}]
    if after == "date":
        assert talk.waits[0] == 0.0  # the moment has come
        return
    # Before the next try, and of the pace that all calls keep (the first wait was none, so the second is still whole).
    assert talk.waits[0] == 7.0
    assert 6.0 < talk.waits[1] <= 7.0


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_wants_to_be_left_alone_for_long_ends_the_run_and_is_not_asked_again(api: Api, status: int) -> None:
    api.answer = lambda asked: Reply(status, headers={"Retry-After": "3600"})
    talk = Talk(api.url)
    with pytest.raises(
        FatalError, match=f"'companies': the server answered {status}, and wants to be asked again only after 3600 s"
    ) as raised:
        talk(*[Ask()] * 20, concurrency=1)
    assert (raised.value.code, talk.waits, len(api.asked)) == ("unreachable", [], 1)


def test_an_answer_500_that_says_when_to_come_back_costs_its_call_alone(api: Api) -> None:
    api.answer = failing(1, Reply(500, headers={"Retry-After": "3600"}))
    assert Talk(api.url)(Ask(), Ask(), concurrency=1) == [
        Refusal("the server answered 500, and wants to be asked again only after 3600 s"),
        {"n": 1},
    ]


def test_a_call_that_waits_for_its_turn_waits_again_when_the_server_asks_for_a_rest_meanwhile(api: Api) -> None:
    talk = Talk(api.url)

    def asked_for(client: Client) -> None:
        if len(talk.waits) == 1:
            client._pace.rest(50.0)

    talk(Ask(), Ask(), Ask(), meanwhile=asked_for, interval=10.0, concurrency=1)
    assert [round(wait) for wait in talk.waits] == [10, 50, 60]


def test_no_token_means_the_end_and_not_a_million_calls_more(api: Api) -> None:
    api.answer = lambda asked: Reply(401)
    with pytest.raises(FatalError) as raised:
        Talk(api.url)(*[Ask()] * 100, concurrency=2)
    assert raised.value.code == "authentication-failed"
    assert len(api.asked) <= 2
    assert TOKEN not in str(raised.value)


def test_no_token_means_the_end_of_calls_that_are_tried_again_too(api: Api) -> None:
    api.answer = lambda asked: Reply(401 if asked.target == "/2" else 503)
    with pytest.raises(FatalError, match="answered 401"):
        Talk(api.url)(Ask("/1"), Ask("/2"), concurrency=2, retries=10**9)  # or this would not end


@pytest.mark.parametrize("reply", [Reply(hang=True), Reply(drip=True)], ids=["nothing", "drop by drop"])
def test_a_call_that_hangs_is_left(api: Api, reply: Reply) -> None:
    api.answer = lambda asked: reply if asked.target == "/v1/a" else Reply(404)
    assert Talk(api.url)(Ask(), timeout=0.1, retries=1) == [Refusal("the server did not answer within 0.1 s, 2 times")]


def test_a_server_whose_headers_come_drop_by_drop_is_left() -> None:
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                with contextlib.suppress(OSError):  # a client that gave up
                    while not ended.wait(0.01):
                        connection.sendall(b"x")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(FatalError, match=r"did not answer within 0\.1 s"):
            Talk(url)(Ask(), timeout=0.1, retries=0)
        ended.set()


def test_an_answer_that_breaks_off_is_asked_for_again(api: Api) -> None:
    broken = Reply(body=b'20\r\n{"n": ', headers={"Transfer-Encoding": "chunked", "Connection": "close"}, chunked=True)
    api.answer = failing(1, broken)
    assert (Talk(api.url)(Ask()), len(api.asked)) == ([{"n": 1}], 2)


def test_a_dead_server_ends_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    talk = Talk(url)
    with pytest.raises(
        FatalError, match=r"'companies': the server could not be asked \(ClientConnectorError\), 2 times, nor did it"
    ) as raised:
        talk(*[Ask()] * 20, concurrency=1, retries=1)
    assert raised.value.code == "unreachable"
    assert talk.waits[1:] == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize("bad", [Reply(500), Reply(503), Reply(429), Reply(hang=True)], ids=["500", "503", "429", "hangs"])
def test_many_bad_rows_at_the_beginning_cost_themselves_alone(api: Api, bad: Reply) -> None:
    def answer(asked: Asked) -> Reply:
        number = asked.target.rpartition("/")[2]
        return Reply(503) if not number else bad if int(number) < many else Reply(body=int(number))

    many = 16 if bad.hang else 40  # two rounds of eight, each as long as the timeout
    api.answer = answer
    answers = Talk(api.url)(*[Ask(f"/{number}") for number in range(60)], retries=0, concurrency=8, timeout=4)
    said = "the server did not answer within 4 s" if bad.hang else f"the server answered {bad.status}"
    assert answers == [Refusal(said)] * many + list(range(many, 60))


def test_a_server_that_comes_back_is_gone_on_with(api: Api) -> None:
    api.answer = lambda asked: Reply(hang=True)
    talk = Talk(api.url)

    def back(client: Client) -> None:
        api.answer = lambda asked: Reply(body=1)

    assert talk(Ask(), Ask(), meanwhile=back, retries=0, concurrency=1, timeout=1) == [
        Refusal("the server did not answer within 1 s"),
        1,
    ]


def test_a_name_server_that_hangs_does_not_hold_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, looked_up = threading.Event(), []

    def getaddrinfo(host: str, *more: Any, **other: Any) -> Any:
        looked_up.append(host)
        hangs.wait(10)
        raise OSError("not found")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    before = set(threading.enumerate())
    try:
        with pytest.raises(FatalError, match=r"did not answer within 0\.05 s"):
            Talk("http://api.example")(Ask(), timeout=0.05, retries=1)
        left = [thread for thread in set(threading.enumerate()) - before if not thread.daemon]
    finally:
        hangs.set()
    assert (left, looked_up) == ([], ["api.example"])  # one look-up at a time


def test_an_answer_is_read_as_soon_as_it_is_there_and_not_kept(api: Api) -> None:
    together: list[int] = []
    alive = weakref.WeakValueDictionary[int, Json]()

    async def talked() -> list[Any]:
        client = await Client(HttpPlace("companies", api.url, "", {}), Limits(concurrency=2)).open()

        def read(position: int, answer: Json) -> Any:
            alive[position] = answer
            together.append(len(alive))
            return (position, answer.value["target"])

        try:
            return await client.ask([Ask(f"/{number}") for number in range(20)], read)
        finally:
            await client.close()

    assert asyncio.run(talked()) == [(number, f"/{number}") for number in range(20)]
    assert max(together) <= 2


@pytest.mark.parametrize("body", [b"<html>", b"", b"{", b'"\xff"', b'{"a": NaN}', b"[" * 100_000])
def test_what_is_no_json_is_refused(api: Api, body: bytes) -> None:
    api.answer = lambda asked: Reply(body=body)
    assert Talk(api.url)(Ask()) == [Refusal("the answer is not JSON")]


@pytest.mark.parametrize("told", [True, False], ids=["said", "unsaid"])
def test_an_answer_that_is_too_large_is_refused_before_it_is_read(api: Api, told: bool) -> None:
    if told:
        api.answer = lambda asked: Reply(body="x" * 2000)
    else:
        # A second Content-Length would be refused; chunks say nothing of the whole.
        chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
        api.answer = lambda asked: Reply(body=chunk * 3 + b"0\r\n\r\n", headers={"Transfer-Encoding": "chunked"}, chunked=True)
    assert Talk(api.url)(Ask(), size=2000) == [Refusal("the answer is larger than 2000 bytes (maxResponseSize)")]


def test_an_answer_of_just_that_size_is_read(api: Api) -> None:
    api.answer = lambda asked: Reply(body=b'"' + b"x" * 1998 + b'"')
    assert Talk(api.url)(Ask(), size=2000) == ["x" * 1998]


def test_a_redirect_on_the_server_itself_is_followed(api: Api) -> None:
    def answer(asked: Asked) -> Reply:
        return Reply(308, headers={"Location": "../new/a%2Fb"}) if asked.target == "/v1/a" else Reply(body=asked.target)

    api.answer = answer
    assert Talk(api.url)(Ask()) == ["/new/a%2Fb"]


@pytest.mark.parametrize("scheme", ["http:", "", "file:"])
def test_a_redirect_to_another_host_is_refused_and_nothing_goes_there(api: Api, scheme: str) -> None:
    with serving(lambda asked: Reply(body=1)) as other:
        location = f"{scheme}{other.url.removeprefix('http:')}/steal"
        api.answer = lambda asked: Reply(302, headers={"Location": location})
        assert Talk(api.url)(Ask()) == [Refusal("the server answered 302, and sends us to another host")]
        assert other.asked == []


def test_redirects_come_to_an_end(api: Api) -> None:
    api.answer = lambda asked: Reply(302, headers={"Location": "/v1/a"})
    assert Talk(api.url)(Ask()) == [Refusal("the server sends us on more than 5 times")]
    assert len(api.asked) == 6


def test_calls_keep_their_pace(api: Api) -> None:
    talk = Talk(api.url)
    talk(*[Ask()] * 5, interval=100.0)
    assert [round(wait, -2) for wait in talk.waits] == [100.0, 200.0, 300.0, 400.0]


def test_a_cookie_of_one_answer_does_not_go_with_the_next_call(api: Api) -> None:
    api.answer = lambda asked: Reply(body=asked.headers.get("cookie", "none"), headers={"Set-Cookie": "a=1"})
    assert Talk(api.url)(Ask(), Ask(), concurrency=1) == ["none", "none"]


def test_a_header_of_the_connection_takes_the_place_of_ours(api: Api) -> None:
    talk = Talk(api.url)
    talk.place = HttpPlace("companies", api.url, "", {"accept": "application/vnd.api+json"})
    talk(Ask())
    assert api.asked[0].headers["accept"] == "application/vnd.api+json"
    assert "beam-pipelines" in api.asked[0].headers["user-agent"]
