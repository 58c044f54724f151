"""Secret references in a connections file, `${env:NAME}` and `${file:PATH}`, and the taking of secrets out of texts.

A reference stands for the whole value or for a part of it; `$${` is a plain `${`. It is resolved when a client needs it, not when the
file is read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

from beam_pipelines.errors import PlanError, SpecError

__all__ = ["HIDDEN", "SERVED", "Secrets", "references"]

HIDDEN = "***"
SERVED = ("env", "file")
_LATER = ("gcp-secret", "aws-secret")
_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_SHORTEST = 3  # characters: taking out shorter texts would garble a message and hide nothing

_MOST_CHARACTERS = 65_536  # keys and certificates are a few thousand


def references(text: str) -> list[tuple[str, str]]:
    """The references in a text as (kind, what), such as `("env", "CRM_PASSWORD")`, unresolved."""
    found = []
    for match in _REFERENCE.finditer(text):
        if match.group(1) is not None:
            kind, _, what = match.group(1).partition(":")
            found.append((kind.strip(), what.strip()))
    return found


class Secrets:
    """Resolves references and remembers what it gave out, so that no message has to show it.

    Args:
        environ: Where `${env:NAME}` looks.
        folder: What a relative `${file:PATH}` is relative to.
    """

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._environ = environ
        self._folder = folder
        self._known: set[str] = set()

    def __repr__(self) -> str:
        return "Secrets(***)"

    def remember(self, secret: str) -> None:
        """Have `redact` take this text out as well (a password written in the file itself)."""
        if len(secret) >= _SHORTEST:
            self._known.update((secret, quote(secret, safe=""), quote(secret), quote_plus(secret), repr(secret)[1:-1]))

    def redact(self, text: str) -> str:
        """The text with every secret known so far replaced by `***`."""
        for secret in sorted(self._known, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def resolve(self, text: str, connection: str, encode: Callable[[str], str] | None = None) -> str:
        """Put what the references stand for in their place.

        Args:
            text: A value of the connections file.
            connection: Name of the connection, for messages.
            encode: Applied to what a reference gives when it is only a part of the text (percent-encoding, in a URL).

        Raises:
            SpecError: The variable or file is missing, or the reference cannot be understood.
            PlanError: The kind of reference is known, but not served.
        """

        def give(match: re.Match[str]) -> str:
            if match.group(1) is None:
                return "${"
            secret = self._look_up(match.group(1), connection)
            self.remember(secret)
            return encode(secret) if encode and match.group(0) != text else secret

        return _REFERENCE.sub(give, text)

    def _look_up(self, reference: str, connection: str) -> str:
        kind, colon, what = (part.strip() for part in reference.partition(":"))
        if kind == "env" and what:
            return self._from_environment(what, connection)
        if kind == "file" and what:
            return self._from_file(what, connection)
        if kind in _LATER and what:
            raise PlanError(
                f"connection {connection!r}: ${{{kind}:...}} is not served by this version; served are ${{env:NAME}} and ${{file:PATH}}:"
                " have the secret put into a variable or a file",
                code="not-served",
            )
        if not colon and re.fullmatch(r"\w+", kind):
            hint = f"did you mean ${{env:{kind}}}?"
        else:
            near = difflib.get_close_matches(kind, (*SERVED, *_LATER), n=1)
            hint = f"did you mean ${{{near[0]}:...}}?" if near else "write ${env:NAME} or ${file:PATH}"
        raise SpecError(
            f"connection {connection!r}: expected ${{env:NAME}} or ${{file:PATH}}, got ${{{reference}}}; {hint}", code="connection-invalid"
        )

    def _from_environment(self, name: str, connection: str) -> str:
        try:
            return self._environ[name]
        except KeyError:
            raise SpecError(
                f"connection {connection!r} needs the environment variable {name!r} (${{env:{name}}}), which is not set",
                code="secret-missing",
            ) from None

    def _from_file(self, name: str, connection: str) -> str:
        path = self._folder / Path(name).expanduser()
        try:
            # A pipe or a device would be waited for, or read without an end.
            if path.exists() and not path.is_file():
                raise OSError(0, "it is no file")
            with path.open(encoding="utf-8") as file:
                text = file.read(_MOST_CHARACTERS + 1)
            if len(text) > _MOST_CHARACTERS:
                raise OSError(0, f"it is longer than {_MOST_CHARACTERS:,} characters")
            return text.rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as bad:
            reason = bad.strerror if isinstance(bad, OSError) else "it is not UTF-8 text"
            raise SpecError(
                f"connection {connection!r} needs the secret file {str(path)!r} (${{file:{name}}}): {reason}", code="secret-missing"
            ) from None
