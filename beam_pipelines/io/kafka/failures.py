"""What goes wrong between a client and its brokers, in our words: which of it passes, and what to do about the rest."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from beam_pipelines.errors import BeamPipelinesError, FatalError, TransientError
from beam_pipelines.io.connections import Connection

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

__all__ = ["Failures", "passes"]

_LOG = logging.getLogger(__name__)
_LOCKED_OUT = {"_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "_SSL", "UNSUPPORTED_SASL_MECHANISM", "ILLEGAL_SASL_STATE"}
_NOT_ALLOWED = {
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
}
# The client goes on trying; when a broker is back, so are the answers.
_PASSING = {
    "_TRANSPORT",
    "_ALL_BROKERS_DOWN",
    "_DESTROY_BROKER",  # of a broker whose connection was given up meanwhile
    "_TIMED_OUT",
    "_TIMED_OUT_QUEUE",
    "_MSG_TIMED_OUT",
    "_RESOLVE",
    "_WAIT_COORD",
    "_WAIT_CACHE",
    "_LEADER_NOT_AVAILABLE",
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION",
    "BROKER_NOT_AVAILABLE",
    "REPLICA_NOT_AVAILABLE",
    "REQUEST_TIMED_OUT",
    "NETWORK_EXCEPTION",
    "OFFSET_NOT_AVAILABLE",
    "UNKNOWN_LEADER_EPOCH",
    "FENCED_LEADER_EPOCH",
    "KAFKA_STORAGE_ERROR",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE",
    "NOT_COORDINATOR",
}


def passes(error: KafkaError) -> bool:
    """Whether the same call may fare better by itself."""
    return error.retriable() or error.name() in _PASSING


class Failures:
    """What a client tells that goes wrong: it tries again by itself, and its calls only time out.

    Args:
        connection: The brokers; its secrets are kept out of every message.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last: KafkaError | None = None
        self.locked_out: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        """Take note; the client calls it."""
        _LOG.debug("Kafka client: %s", self._said(error))
        if error.name() in _LOCKED_OUT:
            self.locked_out = error
        self._last = error

    @property
    def where(self) -> str:
        """The connection, as messages name it."""
        return f"connection {self._connection.name!r} ({self._connection.redact(str(self._connection.settings['bootstrap.servers']))})"

    def away(self, what: str, seconds: float) -> BeamPipelinesError:
        """Nobody answered, or none who would: what to raise.

        Args:
            what: That was asked for.
            seconds: How long was waited.
        """
        if self.locked_out is not None:
            return self.told(self.locked_out, what)
        last = f"; the client says: {self._said(self._last)}" if self._last is not None else ""
        return TransientError(
            f"{self.where}: expected {what}, and no broker gave it within {seconds:g} s: see that they run, that this machine reaches them"
            f" by the names that they advertise, and that security.protocol is theirs{last}",
            code="unreachable",
        )

    def told(self, error: KafkaError, what: str) -> BeamPipelinesError:
        """A broker, or the client, said what is wrong: what to raise."""
        name, said = error.name(), self._said(error)
        if name in _LOCKED_OUT or name in _NOT_ALLOWED:
            return FatalError(
                f"{self.where}: expected {what}, and was not let in: {said}; see user, password, certificates and access control lists",
                code="authentication-failed",
            )
        if name in ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "UNKNOWN_TOPIC_ID"):
            return FatalError(f"{self.where}: expected {what}, got none: {said}; was the topic deleted or made anew?", code="read-failed")
        return TransientError(f"{self.where}: expected {what}, got an error: {said}", code="unreachable")

    def _said(self, error: KafkaError) -> str:
        return self._connection.redact(f"{error.str()} ({error.name()})")
