"""URLs with a host."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from beam_pipelines.rules import check
from beam_pipelines.spec import Url

GOOD = [
    "http://example.com",
    "HTTPS://Example.COM:443/a/b;c=1/?q=1&r[]=2#top",
    "https://user:p%40ss@sub.example.com.:8080/%C3%BC",
    "http://localhost",
    "http://127.0.0.1/",
    "http://[::1]:8080/x",
    "http://[2001:db8::ff00:42:8329]/?[not-a-host]",
    "http://a_b.example.com",
    "http://xn--mller-kva.de/",
    "http://example.com:",
    "http://example.com:65535//double//slash",
    "http://1-2.example/",
    "http://3com",
    "http://example.com?only=query",
    "http://example.com#only-fragment",
    "http://example.com/?u=http://other.com/?x",
]
BAD = [
    "example.com",
    "www.example.com",
    "//example.com",
    "http:/example.com",
    "http://",
    "http:///path",
    "http://?q",
    "ftp://example.com",
    "mailto:bob@example.com",
    "javascript://alert",
    "http://exa mple.com",
    "http://example.com/a b",
    " http://example.com",
    "http://example.com\n",
    "http://-example.com",
    "http://example-.com",
    "http://exa..mple.com",
    "http://256.1.1.1",
    "http://1.2.3",
    "http://127.0.0.01",
    "http://[::1",
    "http://[1:2:3]",
    "http://[::g]",
    "http://example.com:65536",
    "http://example.com:80a",
    "http://example.com/%zz",
    "http://example.com/%a",
    "http://müller.de",
    "http://example.com/ü",
    "http://example.com/a[b]",
    "http://example.com\\path",
    'http://example.com/"quoted"',
    "http://a@b@example.com",
    "http://example.com#a#b",
    f"http://{'a' * 64}.com",
]


def violating(texts: list[str | None], **keys: object) -> list[str]:
    rule = {"id": "r", "type": "url", "field": "x", **keys}
    return check(pa.table({"x": pa.array(texts, pa.string())}), [rule]).violations["value"].to_pylist()


def test_urls_of_the_web_are_told_from_what_only_looks_like_one():
    assert violating([*GOOD, None, ""]) == []
    assert violating(BAD) == BAD
    assert violating([text for pair in zip(GOOD, BAD, strict=False) for text in pair]) == BAD[: len(GOOD)]


def test_schemes_are_those_of_the_rule():
    found = check(
        pa.table({"x": ["s3://bucket_1/key", "http://example.com", "S3://b", "s3:key", "xs3://b"]}),
        [{"id": "r", "type": "url", "field": "x", "schemes": ["s3", "gs"]}],
    )
    assert found.violations["recordIndex"].to_pylist() == [1, 3, 4]
    assert set(found.violations["message"].to_pylist()) == {"expected a URL of the scheme s3 or gs, with a host"}
    # A dot in a scheme is a dot.
    assert violating(["a.b://x", "acb://x"], schemes=["a.b"]) == ["acb://x"]


def test_a_scheme_that_is_none_is_refused():
    with pytest.raises(ValidationError):
        Url.model_validate({"id": "r", "field": "x", "schemes": ["http://"]})
