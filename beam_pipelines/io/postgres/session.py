"""Connections to PostgreSQL, and its errors in this package's terms.

What the server says may quote a row (`invalid input syntax for type integer: "secret"`), and what the client library says may quote a
URL. So of a refusal only the SQLSTATE and the text of classes that hold no data are passed on, with every known secret taken out.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beam_pipelines.errors import BeamPipelinesError, FatalError, PlanError, TransientError
from beam_pipelines.io import spares

if TYPE_CHECKING:
    import psycopg

__all__ = ["APPLICATION", "IDLE", "STYLE", "Server", "translate"]

APPLICATION = "beam_pipelines"
CONNECT_SECONDS = 10  # a server that is there answers in milliseconds, one across an ocean in less than one
# What text looks like must not depend on the settings of a user or a database.
STYLE = (
    "SELECT set_config('datestyle', 'ISO, MDY', false), set_config('intervalstyle', 'postgres', false),"
    " set_config('bytea_output', 'hex', false), set_config('extra_float_digits', '1', false)"
)
# What DISCARD ALL does, but for prepared statements: the driver counts on those it made.
_FORGET = (
    "CLOSE ALL; UNLISTEN *; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DISCARD TEMP; DISCARD SEQUENCES; SELECT pg_advisory_unlock_all()"
)
_SILENT = ("22", "23", "P0", "XX")  # classes whose messages may quote values of rows: data, constraints, RAISE, internal
_WORDS = {  # what the common ones of these say, for their own text is not passed on
    "22001": "a text is longer than its type",
    "22003": "a number is out of range",
    "22007": "a text does not read as the date or time it is cast to",
    "22008": "a date or time is out of range",
    "22012": "a division by zero",
    "22P02": "a text does not read as the type it is cast to",
}
IDLE = 0  # libpq's PQTRANS_IDLE, written out: psycopg is imported only to connect
_LOST = ("08", "57P", "58")  # connection, shutdown and crash, system errors: all pass


@dataclass(frozen=True, repr=False)
class Server:
    """Where a PostgreSQL database is, and how to speak of it.

    Args:
        url: Any URL of it, with its password.
        display: The same for people, without secrets.
        redact: Takes secrets out of a text.
    """

    url: str
    display: str
    redact: Callable[[str], str]

    def __repr__(self) -> str:
        return f"Server({self.display!r})"

    @property
    def libpq(self) -> str:
        """The URL as libpq reads it, whatever SQLAlchemy driver it names."""
        return "postgresql://" + self.url.partition("://")[2]

    def connect(self, *, autocommit: bool = True) -> psycopg.Connection[Any]:
        """Open a connection of psycopg, or take one that another part of the run is done with; `done` lets go of it.

        Raises:
            TransientError: The server is away or has no room (`unreachable`).
            FatalError: It refuses the user (`authentication-failed`).
            PlanError: There is no such database, or the extra is not installed.
        """
        driver = _psycopg()
        with self.doing("connecting"):
            connection = self._spare()
            if connection is None:
                connection = driver.connect(self.libpq, autocommit=True, **self._defaults())
                connection.execute(STYLE)
            connection.autocommit = autocommit
            return connection

    def done(self, connection: psycopg.Connection[Any]) -> None:
        """Let go of a connection: spare it for the next part of the run as if it were new, or close it. Never fails."""
        with contextlib.suppress(Exception):
            if not connection.closed and connection.pgconn.transaction_status == IDLE:
                connection.autocommit = True
                connection.execute(_FORGET)
                if spares.give(self.libpq, connection):
                    return
        with contextlib.suppress(Exception):
            connection.close()

    def living(self, connection: psycopg.Connection[Any] | None) -> psycopg.Connection[Any]:
        """The connection, or another where the server knows it no more: an idle one may be ended by the server, or by what is between.

        Raises:
            BeamPipelinesError: As `connect`.
        """
        if connection is not None and not (connection.closed or connection.broken):
            if connection.pgconn.transaction_status != IDLE:
                return connection  # in use
            with contextlib.suppress(Exception):  # gone, however that shows
                connection.execute("")
                return connection
            connection.close()
        return self.connect()

    def _spare(self) -> psycopg.Connection[Any] | None:
        """A spared connection that the server still knows."""
        while (connection := spares.take(self.libpq)) is not None:
            try:
                connection.execute(STYLE)
            except Exception:  # noqa: BLE001 - gone while it was idle, however that shows
                connection.close()
            else:
                return connection
        return None

    def adbc_uri(self) -> str:
        """The URL for ADBC, which takes no settings but those in it."""
        missing = "&".join(f"{name}={value}" for name, value in self._defaults().items())
        return self.libpq + (("&" if "?" in self.libpq else "?") + missing if missing else "")

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Translate what the drivers raise while doing `what` (`reading range 2 of 'customers'`)."""
        try:
            yield
        except BeamPipelinesError:
            raise
        except Exception as error:
            known = translate(error, what, self)
            if known is None:
                raise
            # The driver's own traceback may show a URL: it is not chained.
            raise known from None

    def _defaults(self) -> dict[str, Any]:
        defaults = {"connect_timeout": CONNECT_SECONDS, "application_name": APPLICATION}
        query = self.url.partition("?")[2]
        return {name: value for name, value in defaults.items() if not re.search(rf"(^|&){name}=", query)}


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError as missing:
        raise PlanError(
            "PostgreSQL needs its driver, which is not installed: pip install beam-pipelines[postgres]", code="extra-missing"
        ) from missing
    return psycopg


def translate(error: Exception, doing: str, server: Server) -> BeamPipelinesError | None:
    """Return the error of this package that says what a driver's error means; None for one that is no driver's.

    Args:
        error: Of psycopg or ADBC.
        doing: What was being done, for the message.
        server: Where.
    """
    if not _is_drivers(error):
        return None
    state, text = _state_and_text(error)
    where = f"{doing} at {server.display}"
    details = {"sqlstate": state} if state else {}
    said = "" if state.startswith(_SILENT) else f": {server.redact(text)}"
    if not state:
        return _refused_connection(text, where, server)
    if state in ("28P01", "28000"):
        return _authentication(where)
    if state == "42501":
        return FatalError(f"not allowed{said}; {where}: grant it, such as GRANT SELECT", code="authentication-failed", details=details)
    if state == "42P01":
        return PlanError(f"no such table{said}; {where}", code="table-missing", details=details)
    if state in ("42703", "42702"):
        return PlanError(f"no such column, or more than one{said}; {where}", code="column-missing", details=details)
    if state == "3D000":
        return PlanError(f"no such database{said}; {where}", code="connection-invalid", details=details)
    if state == "57014":
        return FatalError(
            f"cancelled by the server{said}; {where}: raise statement_timeout for this user (ALTER ROLE ... SET statement_timeout)",
            code="read-failed",
            details=details,
        )
    if state in ("55P03", "40001", "40P01"):
        return TransientError(
            f"a lock or a conflict was lost{said}; {where}", code="conflict" if state[0] == "4" else "locked", details=details
        )
    if state.startswith(_LOST) or state == "53300":
        return TransientError(f"the server went away or has no room{said}; {where}", code="unreachable", details=details)
    if state == "25P02":
        return FatalError(f"the transaction had failed before; {where}", code="read-failed", details=details)
    if state.startswith("42"):
        return PlanError(f"the server does not understand the statement{said}; {where}", code="spec-invalid", details=details)
    if state in _WORDS:
        return FatalError(
            f"the query failed on a row: {_WORDS[state]} (SQLSTATE {state}); {where}: mend it, or guard the query (NULLIF, a condition)",
            code="read-failed",
            details=details,
        )
    return FatalError(f"the server refused (SQLSTATE {state}){said}; {where}", code="read-failed", details=details)


def _is_drivers(error: Exception) -> bool:
    """Told by name: neither driver is imported for it."""
    homes = ("psycopg", "adbc_driver_manager")
    return any(kind.__name__ == "Error" and kind.__module__.split(".")[0] in homes for kind in type(error).__mro__)


def _state_and_text(error: Exception) -> tuple[str, str]:
    state = getattr(error, "sqlstate", None) or ""
    diagnosis = getattr(error, "diag", None)
    text = getattr(diagnosis, "message_primary", None) or str(error)
    if isinstance(state, bytes):
        state = state.decode()
    # ADBC puts its own words around the server's; context lines (`COPY customers, line 3: "..."`) quote rows.
    text = re.sub(r"^.*?(ERROR|FATAL):\s*", "", text.strip(), count=1, flags=re.DOTALL)
    return state.strip("\0"), text.splitlines()[0][:300] if text else ""


def _authentication(where: str) -> FatalError:
    return FatalError(
        f"the server refused the user or the password; {where}: mend the connection (the password is not shown)",
        code="authentication-failed",
    )


def _refused_connection(text: str, where: str, server: Server) -> BeamPipelinesError:
    """When libpq cannot connect or loses the connection, it gives no SQLSTATE: its words decide (our wheels do not translate them)."""
    if re.search(r"password authentication failed|no password supplied|no pg_hba\.conf entry|role .* does not exist|authentication", text):
        return _authentication(where)
    if re.search(r"database .* does not exist", text):
        return PlanError(f"no such database; {where}", code="connection-invalid")
    if "invalid" in text and ("connection option" in text or "URI" in text or "port" in text):
        return PlanError(f"the URL cannot be understood; {where}", code="connection-invalid")
    return TransientError(f"the server does not answer ({server.redact(text)}); {where}", code="unreachable")
