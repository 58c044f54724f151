"""Addresses: of e-mail, and of hosts."""

from __future__ import annotations

import ipaddress

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.email_address import normalized, sure
from beam_pipelines.rules.row.form import Form
from beam_pipelines.rules.row.texts import by_distinct
from beam_pipelines.spec.rule.form import Email, Ip

__all__ = ["IPV4", "EmailAddress", "IpAddress", "is_ipv6"]

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}"  # as `ipaddress` reads them: without leading zeros
_IPV6 = r"^[0-9A-Fa-f:.]{2,45}$"
# Addresses of hexadecimal groups alone, of which :: stands for one zero or more (RFC 4291, 2.2): by how many groups come before it.
_GROUP = "[0-9A-Fa-f]{1,4}"
_GROUPS = "|".join(
    [
        rf"(?:{_GROUP}:){{7}}{_GROUP}",
        rf"(?:{_GROUP}:){{1,7}}:",
        *(rf"(?:{_GROUP}:){{1,{before}}}(?::{_GROUP}){{1,{7 - before}}}" for before in range(1, 7)),
        rf":(?::{_GROUP}){{1,7}}",
        "::",
    ]
)


class EmailAddress(Form):
    """An e-mail address as the library email-validator reads it; white space at its ends is no part of one. No server is asked."""

    def __init__(self, model: Email, schema: pa.Schema) -> None:
        super().__init__(model.field, schema, "expected an e-mail address", _emails)


def _emails(texts: pa.Array) -> pa.Array:
    return by_distinct(texts, lambda text: normalized(text) is not None, pc.fill_null(sure(pc.ascii_lower(texts)), False))


class IpAddress(Form):
    """An IP address, as Python's `ipaddress` reads it, without a zone and without the length of a network."""

    def __init__(self, model: Ip, schema: pa.Schema) -> None:
        name = "IP address" if model.version == "any" else f"IPv{model.version} address"
        good = {4: _ipv4, 6: _ipv6, "any": lambda texts: pc.or_kleene(_ipv4(texts), _ipv6(texts))}
        super().__init__(model.field, schema, f"expected an {name}", good[model.version])


def _ipv4(texts: pa.Array) -> pa.Array:
    return pc.match_substring_regex(texts, f"^{IPV4}$")


def _ipv6(texts: pa.Array) -> pa.Array:
    likely = pc.fill_null(pc.and_(pc.match_substring(texts, ":"), pc.match_substring_regex(texts, _IPV6)), False)
    sure = pc.fill_null(pc.match_substring_regex(texts, f"^(?:{_GROUPS})$"), False)
    return by_distinct(pc.if_else(likely, texts, pa.scalar(None, texts.type)), is_ipv6, sure)


def is_ipv6(text: str) -> bool:
    """Return whether a text is an IPv6 address."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
