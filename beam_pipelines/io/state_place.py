"""Where a state store is: a URL, the path of a SQLite file, or a name that is a connection's.

A word without slash and dot is a connection's name, or a file that is there; every other text without `://` is a path. So `./runs` and
`runs.db` are files, whatever connections there are, and a name that is misspelt does not make a store of its own, without a memory.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from beam_pipelines.errors import PlanError
from beam_pipelines.io.connections import Connection, Connections
from beam_pipelines.io.url import DatabaseUrl

__all__ = ["connection_of", "may_be_name", "state_url"]

_WORD = re.compile(r"[^/\\.:]+")


def may_be_name(text: str) -> bool:
    """Whether a text could be the name of a connection; if there is none of that name it is a path."""
    return _WORD.fullmatch(text) is not None


def connection_of(text: str, known: Connections) -> Connection | None:
    """Return the connection that a state store is named like; None: the text is a path or a URL.

    Args:
        text: What a user gave as state store.
        known: The connections.

    Raises:
        PlanError: `connection-invalid`: there is a connection of that name, and no state store can be where it leads.
        SpecError: It cannot be understood, or needs a secret that is missing.
    """
    if not may_be_name(text) or text not in known:
        return None
    connection = known.get(text)
    if connection.system in ("postgresql", "sqlite"):
        return connection
    raise PlanError(
        f"expected PostgreSQL or SQLite as state store, got the connection {text!r}, which is {connection.system}: {connection.display};"
        f" name another one, or give ./{text} if a SQLite file of that name is meant",
        code="connection-invalid",
        details={"connection": text},
    )


def state_url(text: str, known: Connections) -> str:
    """Return the URL of a state store, with its secrets: for its client, never for a message.

    Args:
        text: A URL, a path (relative ones are the working directory's) or a connection's name.
        known: The connections.

    Raises:
        PlanError: As `connection_of`; or `connection-missing`: a word is neither a connection nor a file; or `option-invalid`: a folder.
        SpecError: As `connection_of`.
    """
    if "://" in text:
        return text
    connection = connection_of(text, known)
    if connection is None:
        if may_be_name(text) and not Path(text).exists():
            near = difflib.get_close_matches(text, known.names(), n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"connections: {', '.join(known.names()) or 'none'}"
            raise PlanError(
                f"expected a connection or a file as state store, got {text!r}, which is neither; {meant}"
                f" (write ./{text} for a new SQLite file)",
                code="connection-missing",
                details={"connection": text},
            )
        path = Path(text).expanduser().absolute()
        if path.is_dir():
            raise PlanError(
                f"expected a SQLite file as state store, got the folder {str(path)!r}: name a file in it", code="option-invalid"
            )
        return f"sqlite:///{path}"
    parsed = DatabaseUrl.parse(connection.url)
    assert parsed is not None  # a connection's URL is one
    return parsed.text(parsed.system)
