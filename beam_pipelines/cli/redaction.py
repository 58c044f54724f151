"""Secrets out of whatever a command prints: those of the connections a definition names, and of a state store's URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beam_pipelines.io.connections import Connections
    from beam_pipelines.io.secret import Secrets

__all__ = ["Redactor"]


class Redactor:
    """Replaces secrets by `***`. No message should hold one: this is for the drivers, and for the functions of users, which do not know."""

    def __init__(self) -> None:
        self._connections: list[Connections] = []
        self._urls: Secrets | None = None

    def __call__(self, text: str) -> str:
        for connections in self._connections:
            text = connections.redact(text)
        return self._urls.redact(text) if self._urls else text

    def learn_connections(self, connections: Connections, names: Iterable[str]) -> None:
        """Resolve connections, so that their secrets are known; what cannot be resolved is no matter here."""
        from beam_pipelines.errors import BeamPipelinesError

        self._connections.append(connections)
        for name in names:
            try:
                connection = connections.get(name)
                connection.url if connection.kind == "url" else connection.settings  # noqa: B018 - asking resolves
            except BeamPipelinesError:
                continue

    def learn_url(self, url: str) -> None:
        """Note the password in a URL."""
        from beam_pipelines.io.secret import Secrets
        from beam_pipelines.io.url import DatabaseUrl

        parsed = DatabaseUrl.parse(url)
        if parsed is None:
            return
        if self._urls is None:
            self._urls = Secrets({}, Path())
        for secret in parsed.secrets():
            self._urls.remember(secret)
