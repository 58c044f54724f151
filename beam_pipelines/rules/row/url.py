"""URLs with a host, by RFC 3986."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.rules.row.address import IPV4, is_ipv6
from beam_pipelines.rules.row.form import Form
from beam_pipelines.rules.row.texts import by_distinct
from beam_pipelines.spec.rule.form import Url

__all__ = ["WebAddress"]

# RFC 3986, appendix A; without regard to case.
_CHARACTER = r"[a-z0-9._~!$&'()*+,;=:@-]|%[0-9a-f]{2}"
_USER = r"(?:[a-z0-9._~!$&'()*+,;=:-]|%[0-9a-f]{2})*@"
# The host is a domain name (RFC 1035, 2.3.1; `_` is used by services, and by buckets), whose last label is no number: that would be an
# IPv4 address, and must be one.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_LAST = r"(?:[a-z_](?:[a-z0-9_-]{0,61}[a-z0-9_])?|[0-9]+(?:[a-z_](?:[a-z0-9_-]*[a-z0-9_])?|-[a-z0-9_-]*[a-z0-9_]))"
_NAME = rf"(?:{_LABEL}\.)*{_LAST}\.?"
_BRACKETS = r"\[[0-9a-f:.]+\]"
_PORT = r"(?::(?:0*(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5]?[0-9]{1,4}))?)?"
_PATH = rf"(?:/(?:{_CHARACTER}|/)*)?"
# The RFC wants [ and ] escaped behind the path; browsers and most software write them as they are: ?id[]=1.
_BEHIND = rf"(?:{_CHARACTER}|[/?\[\]])*"
_REST = rf"{_PORT}{_PATH}(?:\?{_BEHIND})?(?:#{_BEHIND})?"
_IN_BRACKETS = r"^[^/?#\[]*//[^/?#\[]*\[(?P<host>[^\]]*)\]"


class WebAddress(Form):
    """A URL of one of the schemes, with a host. Characters that are not ASCII must be written as % and two digits, or as Punycode."""

    def __init__(self, model: Url, schema: pa.Schema) -> None:
        schemes = "|".join(re.escape(scheme) for scheme in model.schemes)
        self._pattern = rf"^(?i:(?:{schemes})://(?:{_USER})?(?:{IPV4}|{_NAME}|{_BRACKETS}){_REST})$"
        super().__init__(model.field, schema, f"expected a URL of the scheme {' or '.join(model.schemes)}, with a host", self._urls)

    def _urls(self, texts: pa.Array) -> pa.Array:
        good = pc.match_substring_regex(texts, self._pattern)
        if not pc.any(pc.match_substring(texts, "["), min_count=0).as_py():
            return good
        hosts = pc.struct_field(pc.extract_regex(texts, _IN_BRACKETS), "host")
        return pc.and_(good, pc.fill_null(by_distinct(hosts, is_ipv6), True))
