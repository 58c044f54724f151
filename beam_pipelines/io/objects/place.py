"""Which store a connection leads to."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from beam_pipelines.errors import PlanError, SpecError
from beam_pipelines.io.objects.local import LocalStore

if TYPE_CHECKING:
    from beam_pipelines.io.connections import Connection
    from beam_pipelines.io.objects.store import Store

__all__ = ["store_of"]

_STORES = {"s3": "beam_pipelines.io.objects.s3:S3Store", "gs": "beam_pipelines.io.objects.gcs:GcsStore"}
_EXTRAS = {"boto3": "aws", "botocore": "aws"}
_KEYS = {"s3": ("endpoint", "region", "accessKey", "secretKey", "sessionToken"), "gs": ("endpoint", "credentials")}
_SHOWN = {"s3": "S3", "gs": "Google Cloud Storage"}


def store_of(connection: Connection) -> Store:
    """Open the store of a bucket.

    Args:
        connection: Of kind `bucket`.

    Raises:
        SpecError: It has keys of another kind of store, or needs a secret that is missing; or the client is not installed
            (`extra-missing`).
        PlanError: It is no bucket.
    """
    if connection.kind != "bucket":
        raise PlanError(f"expected a bucket as connection {connection.name!r}, got {connection.display}", code="connection-invalid")
    if connection.path is not None:
        return LocalStore(connection.path)
    settings = {key: str(value).strip() for key, value in connection.settings.items() if value is not None}
    scheme, bucket = "s3", connection.name
    if "url" in settings:
        url = urlsplit(settings.pop("url"))
        scheme, bucket = url.scheme.lower(), url.netloc
        if not bucket or url.path.strip("/") or url.query or url.fragment or "@" in bucket or scheme not in _STORES:
            raise SpecError(
                f"connection {connection.name!r}: expected s3://BUCKET or gs://BUCKET and nothing behind it (a prefix stands in the"
                f" definition), got {connection.display!r}",
                code="connection-invalid",
            )
    foreign = [key for key in settings if key not in _KEYS[scheme]]
    if foreign:
        raise SpecError(
            f"connection {connection.name!r}: {foreign[0]!r} says nothing of {_SHOWN[scheme]}; expected {', '.join(_KEYS[scheme])}",
            code="connection-invalid",
        )
    if ("accessKey" in settings) != ("secretKey" in settings):
        raise SpecError(f"connection {connection.name!r}: expected accessKey and secretKey together, got one", code="connection-invalid")
    module, _, name = _STORES[scheme].partition(":")
    try:
        made = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as missing:
        top = (missing.name or "").partition(".")[0]
        if top not in _EXTRAS:
            raise
        raise SpecError(
            f"{_SHOWN[scheme]} needs the module {top!r}, which is not installed: pip install 'beam-pipelines[{_EXTRAS[top]}]'",
            code="extra-missing",
        ) from missing
    store: Store = made(bucket, settings, connection.redact)
    return store
