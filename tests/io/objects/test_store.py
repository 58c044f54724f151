"""What every store does alike: a folder of this machine, a bucket of S3, one of Google Cloud Storage, each on a real server."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.errors import BeamPipelinesError, FatalError, SpecError, TransientError
from beam_pipelines.io.connections import Connections, variable
from beam_pipelines.io.objects import s3
from beam_pipelines.io.objects.gcs import GcsStore
from beam_pipelines.io.objects.place import store_of
from beam_pipelines.io.objects.store import Store, Stored
from beam_pipelines.testing.buckets import BucketServer, Proxy


def opened(connection: Any, name: str = "lake") -> Store:
    return store_of(Connections(None, {variable(name): json.dumps(connection)}).get(name))


@pytest.fixture(params=["local", "s3", "gcs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return opened({"path": str(tmp_path)})
    server: BucketServer = request.getfixturevalue(f"{request.param}_server")
    name = f"b-{uuid.uuid4().hex[:12]}"
    server.make(name)
    return opened(server.connection(name))


def put(store: Store, key: str, data: bytes) -> Stored:
    upload = store.begin(key)
    upload.write(data)
    return upload.finish()


def read(file: Stored) -> bytes:
    with file.open() as source:
        return bytes(source.read())


def names(store: Store, prefix: str = "") -> list[str]:
    root = store.shown("") or f"{store.root}/"  # type: ignore[attr-defined]
    return [str(file).removeprefix(root) for file in store.list(prefix)]


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_001, 20_000_003])
def test_what_is_written_is_read(store: Store, size: int) -> None:
    data = random.Random(size).randbytes(size)
    upload = store.begin("day/file.bin")
    for start in range(0, max(size, 1), 1_500_000):
        upload.write(memoryview(data)[start : start + 1_500_000])
        assert store.look("day/file.bin") is None  # nobody sees a part
    made = upload.finish()
    assert (made.size, names(store)) == (size, ["day/file.bin"])
    assert read(made) == data
    (listed,) = store.list("day/")
    assert (listed.size, listed.tag, listed.key) == (made.size, made.tag, made.key)
    with made.open() as source:
        for at, length in ((size // 2, 1000), (0, 10), (max(size - 7, 0), 100), (size // 3, size)):
            source.seek(at)
            assert source.read(length) == data[at : at + length]


def test_files_are_listed_by_prefix_in_order(store: Store) -> None:
    for key in ("b/2.csv", "b/1.csv", "a/1.csv", "b-c.csv", "ba/ü 1.csv"):
        put(store, key, b"x")
    assert names(store, "b") == ["b-c.csv", "b/1.csv", "b/2.csv", "ba/ü 1.csv"]
    assert names(store, "b/") == ["b/1.csv", "b/2.csv"]
    assert names(store, "no") == []
    assert [file.name for file in store.list("b", deep=False)] == ["b-c.csv"]
    assert [file.name for file in store.list("b/", deep=False)] == ["1.csv", "2.csv"]
    assert store.look("b/3.csv") is None


def test_more_files_than_a_page_are_listed(s3_server: BucketServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
    s3_server.make("many-files")
    store = opened(s3_server.connection("many-files"))
    for number in range(25):
        s3_server.put("many-files", f"{number:04}", b"")
    assert names(store) == [f"{number:04}" for number in range(25)]


@pytest.mark.parametrize("change", ["written anew", "gone"])
def test_another_version_is_not_read(store: Store, change: str) -> None:
    file = put(store, "a", b"one")
    if change == "gone":
        assert store.remove(file)
    else:
        put(store, "a", b"two")
    with pytest.raises(FatalError, match=r"since the run was prepared.*: start a new run") as raised:
        read(file)
    assert raised.value.code == "read-failed"


def test_an_upload_that_is_given_up_leaves_nothing(store: Store) -> None:
    for size in (10, 20_000_000):
        upload = store.begin("given-up")
        upload.write(bytes(size))
        upload.abort()
    dead = store.begin("staging/dead")
    dead.write(bytes(20_000_000))  # its process died here
    begun = [Path(key).name for key in store.unfinished("staging/")]
    assert begun == ([] if isinstance(store, GcsStore) else ["dead"])
    store.sweep("staging/")
    assert list(store.unfinished("")) == []
    assert names(store) == []


def test_copies_are_whole_and_may_be_repeated(store: Store) -> None:
    source = put(store, "staging/x", b"new")
    put(store, "out/x", b"old")
    for _ in range(2):
        store.copy(source, "out/x")
        (copied,) = store.list("out/")
        assert read(copied) == b"new"
    assert store.remove(source) is True
    assert store.remove(source) is False
    with pytest.raises(FatalError, match="is gone"):
        store.copy(source, "out/y")
    assert names(store) == ["out/x"]


def test_a_file_whose_name_is_its_own_is_discarded(store: Store) -> None:
    store.discard(put(store, "staging/x", b"new"))
    assert names(store) == []


def test_only_the_version_that_is_known_is_removed(store: Store) -> None:
    old = put(store, "a", b"old")
    put(store, "a", b"newer")
    assert store.remove(old) is False
    assert names(store) == ["a"]


# Of buckets alone.


def proxied(server: BucketServer, bucket: str, answer: Callable[[int, str, str], int | None]) -> tuple[Proxy, Store]:
    proxy = Proxy(server.url, answer)
    return proxy, opened(server.connection(bucket, proxy.url))


def test_a_server_that_is_busy_now_and_then_is_asked_again(bucket_server: BucketServer, bucket: str) -> None:
    data = random.Random(1).randbytes(9_000_000)
    proxy, store = proxied(bucket_server, bucket, lambda number, *_: 503 if number % 3 == 0 else None)
    with proxy:
        made = put(store, "a", data)
        assert read(made) == data
        assert [file.key for file in store.list("")] == ["a"]
        store.copy(made, "b")
    assert bucket_server.objects(bucket) == {"a": data, "b": data}


def test_a_body_that_breaks_off_is_asked_for_again(bucket_server: BucketServer, bucket: str) -> None:
    data = random.Random(2).randbytes(2_000_000)
    bucket_server.put(bucket, "a", data)
    cut: list[str] = []

    def answer(_: int, method: str, path: str) -> int | None:
        body = method == "GET" and path.partition("?")[0].endswith("/a") and ("alt=media" in path or bucket_server.scheme == "s3")
        if body and len(cut) < 2:
            cut.append(path)
            return -1
        return None

    proxy, store = proxied(bucket_server, bucket, answer)
    with proxy:
        (file,) = store.list("")
        assert read(file) == data
    assert len(cut) == 2


def test_a_server_that_stays_busy_is_unreachable(bucket_server: BucketServer, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    proxy, store = proxied(bucket_server, bucket, lambda *_: 503 if bucket_server.scheme == "s3" else 400)
    with proxy, pytest.raises(TransientError if bucket_server.scheme == "s3" else FatalError) as raised:
        list(store.list(""))
    assert raised.value.code == ("unreachable" if bucket_server.scheme == "s3" else "read-failed")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_who_is_refused_is_told_so_without_a_secret(bucket_server: BucketServer, bucket: str, status: int) -> None:
    proxy, store = proxied(bucket_server, bucket, lambda *_: status)
    with proxy, pytest.raises(BeamPipelinesError, match=bucket) as raised:
        store.check()
    assert raised.value.code == ("read-failed" if status == 404 else "authentication-failed")
    assert "sEcReT" not in str(raised.value)


def test_nobody_answers(bucket_server: BucketServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("beam_pipelines.io.objects.gcs._RETRY", None)
    store = opened(bucket_server.connection("b", "http://127.0.0.1:9"))
    with pytest.raises(TransientError, match="'b'") as raised:
        store.check()
    assert raised.value.code == "unreachable"


def test_a_process_makes_one_client_for_an_endpoint_and_key(s3_server: BucketServer) -> None:
    one, other = (opened(s3_server.connection(name)) for name in ("one", "other"))
    assert one._client is other._client  # type: ignore[attr-defined]
    given = {**s3_server.connection("one"), "secretKey": "another"}
    assert opened(given)._client is not one._client  # type: ignore[attr-defined]


# Connections.


@pytest.mark.parametrize(
    ("connection", "says"),
    [
        ({"url": "s3://bucket/prefix"}, "expected s3://BUCKET or gs://BUCKET and nothing behind it"),
        ({"url": "s3://"}, "expected s3://BUCKET"),
        ({"url": "s3://b", "credentials": "x"}, "'credentials' says nothing of S3"),
        ({"url": "gs://b", "accessKey": "x", "secretKey": "y"}, "'accessKey' says nothing of Google Cloud Storage"),
        ({"url": "s3://b", "accessKey": "x"}, "accessKey and secretKey together"),
        ({"url": "gs://b", "credentials": "sEcReT-no-json"}, "expected the JSON key of a service account"),
        ({"url": "gs://b", "credentials": '{"private_key": "sEcReT"}'}, "expected the JSON key of a service account"),
        ({"url": "s3://user:sEcReT@b"}, "expected s3://BUCKET"),
    ],
)
def test_connections_that_make_no_sense_are_refused(connection: dict[str, str], says: str) -> None:
    with pytest.raises(SpecError, match=says) as raised:
        opened(connection)
    assert raised.value.code == "connection-invalid"
    assert "sEcReT" not in str(raised.value)


def test_an_endpoint_alone_is_a_bucket_of_the_connections_name(s3_server: BucketServer) -> None:
    s3_server.make("by-name")
    given = {key: value for key, value in s3_server.connection("x").items() if key != "url"}
    assert "'by-name'" in opened(given, "by-name").check()


def test_a_bucket_without_a_connection_is_entered_by_what_the_client_finds(
    s3_server: BucketServer, gcs_server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for server in (s3_server, gcs_server):
        server.make(f"default-{server.scheme}")
        server.put(f"default-{server.scheme}", "a", b"1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    monkeypatch.setattr(s3, "_clients", {})
    known = Connections(None, {})
    for scheme in ("s3", "gs"):
        store = store_of(known.bucket(f"default-{scheme}", scheme))
        assert [str(file) for file in store.list("")] == [f"{scheme}://default-{scheme}/a"]


def test_a_client_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "beam_pipelines.io.objects.s3", raising=False)
    with pytest.raises(SpecError, match=r"pip install 'beam-pipelines\[aws\]'") as raised:
        opened({"url": "s3://b"})
    assert raised.value.code == "extra-missing"
