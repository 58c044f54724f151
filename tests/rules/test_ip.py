"""IP addresses, as Python's own library reads them."""

from __future__ import annotations

import ipaddress

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.rules import check

TEXTS = [
    "1.2.3.4",
    "255.255.255.255",
    "256.1.1.1",
    "01.2.3.4",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.4/8",
    " 1.2.3.4",
    "1.2.3.4\n",
    "٣.1.1.1",
    "::1",
    "2001:DB8::1",
    "::ffff:1.2.3.4",
    "::ffff:1.2.3.400",
    "1::2::3",
    "12345::",
    "2001:db8::/32",
    "::1 ",
    ":",
    "localhost",
    None,
    "",
]
CLASSES = {4: [ipaddress.IPv4Address], 6: [ipaddress.IPv6Address], "any": [ipaddress.IPv4Address, ipaddress.IPv6Address]}


def is_address(text: str, version: object) -> bool:
    for kind in CLASSES[version]:
        try:
            kind(text)
        except ValueError:
            continue
        return True
    return False


def violating(texts: list[str | None], version: object) -> list[int]:
    rule = {"id": "r", "type": "ip", "field": "x", "version": version}
    return check(pa.table({"x": pa.array(texts, pa.string())}), [rule]).violations["recordIndex"].to_pylist()


@pytest.mark.parametrize("version", [4, 6, "any"])
def test_the_answer_is_python_s(version):
    assert violating(TEXTS, version) == [at for at, text in enumerate(TEXTS) if text and not is_address(text, version)]


NEAR = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", fullmatch=True),
    st.lists(st.sampled_from(["", "0", "ab", "12345"]), min_size=2, max_size=10).map(":".join),
    st.lists(st.sampled_from(["0", "ab"]), max_size=8).flatmap(
        lambda groups: st.integers(0, len(groups)).map(lambda at: ":".join(groups[:at]) + "::" + ":".join(groups[at:]))
    ),
    st.text(":.0aF%", max_size=8),
)


@given(st.lists(NEAR, max_size=40))
def test_random_texts_have_python_s_answer(texts):
    for version in CLASSES:
        expected = [at for at, text in enumerate(texts) if text and ("%" in text or not is_address(text, version))]
        assert violating(texts, version) == expected


def test_the_library_is_asked_for_what_no_pattern_decides_alone(monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr("beam_pipelines.rules.row.address.is_ipv6", lambda text: asked.append(text) or False)
    violating(["1.2.3.4", "::1", "2001:db8:0:0:0:0:0:1", "::ffff:1.2.3.4", "x", "::ffff:1.2.3.4", None, ""], "any")
    assert asked == ["::ffff:1.2.3.4"]


def test_an_address_with_a_zone_is_none():
    assert violating(["fe80::1%eth0"], "any") == [0]


def test_messages_name_the_version():
    table = pa.table({"x": ["x"]})
    rules = [{"id": f"v{version}", "type": "ip", "field": "x", "version": version} for version in (4, 6, "any")]
    messages = check(table, rules).violations["message"].to_pylist()
    assert messages == ["expected an IPv4 address", "expected an IPv6 address", "expected an IP address"]
