"""Columns whose values are told to nobody: those with a name such as `password` or `api_key`."""

from __future__ import annotations

import itertools
import re

__all__ = ["keeps_secrets"]

_WORDS = {"password", "passwd", "pwd", "passphrase", "passcode", "secret", "token", "credential", "apikey"} | {
    *("privatekey", "accesskey", "creditcard", "cardnumber", "otp", "pin", "cvv", "cvc", "ssn", "iban")
}
_PAIRS = frozenset(
    [("api", "key"), ("private", "key"), ("access", "key"), ("card", "number"), ("credit", "card"), ("pass", "word"), ("pass", "phrase")]
)
_SINGULAR = {"pass"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def keeps_secrets(name: str) -> bool:
    """Return whether a column's name says that its values are secret.

    >>> [keeps_secrets(name) for name in ("user_password", "apiKey", "API_KEYS", "access_tokens", "company", "shipping", "key")]
    [True, True, True, True, False, False, False]
    """
    words = [word.lower() for word in _WORD.findall(name)]
    words = [word if word in _SINGULAR else word.removesuffix("s") for word in words]
    return not _WORDS.isdisjoint(words) or not _PAIRS.isdisjoint(itertools.pairwise(words))
