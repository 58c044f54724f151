"""Buckets of Google Cloud Storage, by google-cloud-storage, whose own repeating of requests is used."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
from google.api_core.exceptions import ClientError, Forbidden, GoogleAPICallError, NotFound, PreconditionFailed, RetryError, Unauthorized
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.exceptions import RequestException

from beam_pipelines.errors import FatalError, SpecError, TransientError
from beam_pipelines.io.objects.ranges import ranged
from beam_pipelines.io.objects.store import Store, Stored, changed, gone
from beam_pipelines.io.objects.upload import PartedUpload

__all__ = ["GcsStore", "client_of"]

_RETRY = DEFAULT_RETRY.with_timeout(60.0).with_delay(initial=0.2, maximum=5.0)
_TIMEOUT = (10, 60)

_lock = threading.Lock()
_clients: dict[str, Any] = {}


def client_of(settings: Mapping[str, str | None]) -> Any:
    """The client of this process for an endpoint and an account.

    Args:
        settings: `endpoint`, and `credentials`, the JSON key of a service account; without these, application default credentials, and
            none at all where an endpoint or STORAGE_EMULATOR_HOST is given.

    Raises:
        SpecError: The credentials are no such key.
    """
    shown = {**settings, "emulator": os.environ.get("STORAGE_EMULATOR_HOST")}
    known = hashlib.sha256(repr(sorted(shown.items())).encode()).hexdigest()
    with _lock:
        if known not in _clients:
            endpoint, key = settings.get("endpoint"), settings.get("credentials")
            more: dict[str, Any] = {"client_options": {"api_endpoint": endpoint}} if endpoint else {}
            if key:
                try:
                    _clients[known] = storage.Client.from_service_account_info(json.loads(key), **more)
                except (ValueError, AttributeError, TypeError, GoogleAuthError):
                    message = "expected the JSON key of a service account as credentials, got something else"
                    raise SpecError(message, code="connection-invalid") from None
            else:
                anonymous = endpoint or shown["emulator"]
                more |= {"project": "none", "credentials": AnonymousCredentials()} if anonymous else {}
                _clients[known] = storage.Client(**more)
        return _clients[known]


class GcsStore(Store):
    """A bucket.

    Args:
        bucket: Its name.
        settings: See `client_of`.
        redact: Takes secrets out of messages of the client.
    """

    def __init__(self, bucket: str, settings: Mapping[str, str | None], redact: Callable[[str], str]) -> None:
        self.bucket, self._redact = bucket, redact
        with self._asking():
            self._client = client_of(settings)
        self._bucket = self._client.bucket(bucket)

    def __repr__(self) -> str:
        return f"GcsStore({self.bucket!r})"

    def shown(self, key: str) -> str:
        return f"gs://{self.bucket}/{key}"

    def list(self, prefix: str, deep: bool = True) -> Iterator[Stored]:
        with self._asking():
            folders = None if deep else "/"
            blobs = self._client.list_blobs(self._bucket, prefix=prefix, delimiter=folders, retry=_RETRY, timeout=_TIMEOUT)
            found = [self._stored(blob) for blob in blobs if not blob.name.endswith("/")]
        yield from sorted(found, key=lambda file: file.key)

    def look(self, key: str, about: Stored | None = None) -> Stored | None:
        with self._asking(about):
            blob = self._bucket.get_blob(key, retry=_RETRY, timeout=_TIMEOUT)
        return None if blob is None else self._stored(blob)

    def _stored(self, blob: Any) -> Stored:
        return Stored(self, blob.name, int(blob.size), str(blob.generation), blob.updated.timestamp())

    def open(self, file: Stored) -> AbstractContextManager[pa.NativeFile]:
        self.unchanged(file)
        return ranged(lambda start, end: self._fetch(file, start, end), file.size)

    def unchanged(self, file: Stored) -> None:
        now = self.look(file.key, file)
        if now is None:
            gone(file)
        if (now.size, now.tag) != (file.size, file.tag):
            changed(file)

    def _fetch(self, file: Stored, start: int, end: int) -> bytes:
        with self._asking(file):
            # Raw: what is stored as gzip would else come unpacked, and of another size.
            data: bytes = self._bucket.blob(file.key).download_as_bytes(
                start=start,
                end=end - 1,
                raw_download=True,
                checksum=None,
                if_generation_match=int(file.tag),
                retry=_RETRY,
                timeout=_TIMEOUT,
            )
        return data

    def begin(self, key: str) -> PartedUpload:
        return _GcsUpload(self, key)

    def prove(self, key: str) -> None:
        with self._asking():  # what is begun is forgotten, as `sweep` says
            self._bucket.blob(key).create_resumable_upload_session(timeout=_TIMEOUT, retry=_RETRY)

    def copy(self, file: Stored, key: str) -> None:
        with self._asking(file):
            blob, token = self._bucket.blob(key), None
            while True:  # a large one takes several requests, and appears with the last
                token, _, _ = blob.rewrite(
                    self._bucket.blob(file.key), token=token, if_source_generation_match=int(file.tag), retry=_RETRY, timeout=_TIMEOUT
                )
                if token is None:
                    return

    def remove(self, file: Stored) -> bool:
        now = self.look(file.key)
        return now is not None and now.tag == file.tag and self._deleted(file)

    def discard(self, file: Stored) -> None:
        self._deleted(file)

    def _deleted(self, file: Stored) -> bool:
        with self._asking():
            try:
                self._bucket.blob(file.key).delete(if_generation_match=int(file.tag), retry=_RETRY, timeout=_TIMEOUT)
            except (NotFound, PreconditionFailed):
                return False
        return True

    def unfinished(self, prefix: str) -> Sequence[str]:  # noqa: ARG002 (the store does not tell)
        return ()

    def sweep(self, prefix: str) -> None:
        """Nothing: an upload that is not finished cannot be seen, costs nothing, and is forgotten after a week."""

    def check(self) -> str:
        with self._asking():
            next(iter(self._client.list_blobs(self._bucket, max_results=1, retry=_RETRY, timeout=_TIMEOUT)), None)
        return f"bucket {self.bucket!r} of Google Cloud Storage"

    @contextlib.contextmanager
    def _asking(self, file: Stored | None = None) -> Iterator[None]:
        """Make what the client raises an error of this package."""
        where = repr(str(file)) if file else f"bucket {self.bucket!r}"
        try:
            yield
        except (Unauthorized, Forbidden) as error:
            one = {"passing": True} if file is not None and isinstance(error, Forbidden) else {}  # others may be open
            said = f"{where}: Google Cloud Storage refuses ({self._said(error)})"
            raise FatalError(said, code="authentication-failed", details=one) from None
        except NotFound as error:
            if file is not None:
                gone(file)
            raise FatalError(f"{where}: there is none ({self._said(error)})", code="read-failed") from None
        except PreconditionFailed:
            if file is not None:
                changed(file)
            raise
        except ClientError as error:
            said = f"{where}: Google Cloud Storage refuses ({self._said(error)})"
            raise FatalError(said, code="read-failed", details={"passing": True}) from None
        except TransportError as error:
            raise TransientError(f"{where}: {self._said(error)}", code="unreachable") from None
        except GoogleAuthError as error:
            raise FatalError(
                f"{where}: there are no credentials for Google Cloud Storage ({self._said(error)})", code="authentication-failed"
            ) from None
        except (GoogleAPICallError, RetryError, RequestException, ConnectionError, TimeoutError) as error:
            raise TransientError(f"{where}: {self._said(error)}", code="unreachable") from None

    def _said(self, error: Exception) -> str:
        return self._redact((str(error).splitlines() or [type(error).__name__])[0])


class _GcsUpload(PartedUpload):
    def __init__(self, store: GcsStore, key: str) -> None:
        super().__init__()
        self._store, self._key = store, key
        self._blob = store._bucket.blob(key)
        self._writer: Any = None

    def whole(self, data: bytes) -> Stored:
        with self._store._asking():
            self._blob.upload_from_string(data, content_type="application/octet-stream", retry=_RETRY, timeout=_TIMEOUT)
        return self._store._stored(self._blob)

    def part(self, number: int, data: bytes) -> None:
        with self._store._asking():
            if not number:
                self._writer = self._blob.open("wb", chunk_size=8 << 20, retry=_RETRY, timeout=_TIMEOUT, ignore_flush=True)
            self._writer.write(data)

    def complete(self) -> Stored:
        with self._store._asking():
            self._writer.close()
        return self._store.written(self._key)

    def abandon(self) -> None:
        self._writer.terminate()
