"""Buckets of S3, and of stores that speak its API, by boto3.

One client serves a process for each endpoint and key: making one takes 0.1 to 0.3 s, and each has connections of its own. Requests are
repeated by botocore; what breaks off while a body arrives is repeated here, which is no harm for a range of a version.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import boto3
import pyarrow as pa
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
)
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from urllib3.exceptions import HTTPError

from beam_pipelines.errors import FatalError, TransientError
from beam_pipelines.io.objects.ranges import ranged
from beam_pipelines.io.objects.store import Store, Stored, changed, gone
from beam_pipelines.io.objects.upload import PartedUpload

__all__ = ["S3Store", "client_of"]

_ATTEMPTS = 6
_REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "401", "403", "Forbidden"}
_KEPT_BACK = {"AccessDenied", "403", "Forbidden"}  # which may be said of one object alone
_MISSING = {"NoSuchKey", "404", "NotFound"}
_OTHER = {"PreconditionFailed", "412"}
_BROKEN = (HTTPClientError, IncompleteReadError, HTTPError, ConnectionError, TimeoutError)
_COPIED_AT_ONCE = 5 << 30  # bytes: S3 copies no more in one request

_lock = threading.Lock()
_clients: dict[str, Any] = {}


def client_of(settings: Mapping[str, str | None]) -> Any:
    """The client of this process for an endpoint and a key.

    Args:
        settings: `endpoint`, `region`, `accessKey`, `secretKey`, `sessionToken`; what is not there comes from boto3's own places.
    """
    known = hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()
    with _lock:
        if known not in _clients:
            endpoint = settings.get("endpoint")
            _clients[known] = boto3.session.Session().client(
                "s3",
                endpoint_url=endpoint,
                region_name=settings.get("region") or ("us-east-1" if endpoint else None),
                aws_access_key_id=settings.get("accessKey"),
                aws_secret_access_key=settings.get("secretKey"),
                aws_session_token=settings.get("sessionToken"),
                config=Config(
                    retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                    connect_timeout=10,
                    read_timeout=60,
                    max_pool_connections=32,
                    # Other stores than that of AWS have neither buckets as host names nor the newer checksums, as a rule.
                    s3={"addressing_style": "path" if endpoint else "auto"},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )
        return _clients[known]


class S3Store(Store):
    """A bucket.

    Args:
        bucket: Its name.
        settings: See `client_of`.
        redact: Takes secrets out of messages of the client.
    """

    def __init__(self, bucket: str, settings: Mapping[str, str | None], redact: Callable[[str], str]) -> None:
        self.bucket, self._endpoint, self._redact = bucket, settings.get("endpoint"), redact
        with self._asking():
            self._client = client_of(settings)

    def __repr__(self) -> str:
        return f"S3Store({self.bucket!r})"

    def shown(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def list(self, prefix: str, deep: bool = True) -> Iterator[Stored]:
        folders = {} if deep else {"Delimiter": "/"}
        with self._asking():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, **folders):
                for found in page.get("Contents", ()):
                    if not found["Key"].endswith("/"):  # what consoles make to show a folder
                        yield Stored(self, found["Key"], found["Size"], found["ETag"], found["LastModified"].timestamp())

    def look(self, key: str) -> Stored | None:
        with self._asking():
            try:
                found = self._client.head_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                if _code(error) in _MISSING:
                    return None
                raise
            return Stored(self, key, found["ContentLength"], found["ETag"], found["LastModified"].timestamp())

    def open(self, file: Stored) -> AbstractContextManager[pa.NativeFile]:
        return ranged(lambda start, end: self._fetch(file, start, end), file.size)

    def unchanged(self, file: Stored) -> None:
        """Each range was of the version: nothing is to ask."""

    def _fetch(self, file: Stored, start: int, end: int) -> bytes:
        with self._asking(file):
            for attempt in _again():
                with attempt:
                    found = self._client.get_object(Bucket=self.bucket, Key=file.key, Range=f"bytes={start}-{end - 1}", IfMatch=file.tag)
                    with contextlib.closing(found["Body"]) as body:
                        data: bytes = body.read()
                    if found["ETag"] != file.tag:
                        changed(file)  # the store knows no If-Match
        return data

    def begin(self, key: str) -> PartedUpload:
        return _S3Upload(self, key)

    def prove(self, key: str) -> None:
        where = {"Bucket": self.bucket, "Key": key}
        with self._asking():
            begun = self._client.create_multipart_upload(**where)
            with contextlib.suppress(ClientError):  # who may not even give up has begun all the same; it is swept with staging
                self._client.abort_multipart_upload(**where, UploadId=begun["UploadId"])

    def copy(self, file: Stored, key: str) -> None:
        with self._asking(file):
            source = {"Bucket": self.bucket, "Key": file.key}
            if file.size < _COPIED_AT_ONCE:
                self._client.copy_object(Bucket=self.bucket, Key=key, CopySource=source, CopySourceIfMatch=file.tag)
            else:
                parts = TransferConfig(multipart_chunksize=512 << 20)
                self._client.copy(source, self.bucket, key, ExtraArgs={"CopySourceIfMatch": file.tag}, Config=parts)

    def remove(self, file: Stored) -> bool:
        now = self.look(file.key)
        if now is None or now.tag != file.tag:
            return False
        self.discard(file)
        return True

    def discard(self, file: Stored) -> None:
        with self._asking(file):
            self._client.delete_object(Bucket=self.bucket, Key=file.key)

    def unfinished(self, prefix: str) -> Sequence[str]:
        return sorted({key for key, _ in self._begun(prefix)})

    def sweep(self, prefix: str) -> None:
        for key, upload in self._begun(prefix):
            with self._asking(), contextlib.suppress(ClientError):  # it has been finished, or given up, by another
                self._client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload)

    def _begun(self, prefix: str) -> Sequence[tuple[str, str]]:
        with self._asking():
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix)
            return [(begun["Key"], begun["UploadId"]) for page in pages for begun in page.get("Uploads", ())]

    def check(self) -> str:
        with self._asking():
            self._client.list_objects_v2(Bucket=self.bucket, MaxKeys=1)
        return f"bucket {self.bucket!r} of S3" + (f" at {self._endpoint}" if self._endpoint else "")

    @contextlib.contextmanager
    def _asking(self, file: Stored | None = None) -> Iterator[None]:
        """Make what the client raises an error of this package."""
        try:
            yield
        except ClientError as error:
            self._refused(error, file)
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise FatalError(
                f"bucket {self.bucket!r}: there are no credentials for S3: give accessKey and secretKey, or set AWS_ACCESS_KEY_ID",
                code="authentication-failed",
            ) from error
        except (BotoCoreError, HTTPError, ConnectionError, TimeoutError) as error:
            raise TransientError(f"bucket {self.bucket!r}: {self._redact(str(error))}", code="unreachable") from None

    def _refused(self, error: ClientError, file: Stored | None) -> NoReturn:
        code = _code(error)
        where = repr(str(file)) if file else f"bucket {self.bucket!r}"
        said = self._redact(f"{code}: {error.response.get('Error', {}).get('Message', '')}".rstrip(": "))
        if file is not None and code in _MISSING:
            gone(file)
        if file is not None and code in _OTHER:
            changed(file)
        if code in _REFUSED:
            one = {"passing": True} if file is not None and code in _KEPT_BACK else {}
            raise FatalError(f"{where}: S3 refuses the key ({said})", code="authentication-failed", details=one) from None
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500 or code in ("SlowDown", "RequestTimeout"):
            raise TransientError(f"{where}: S3 answers {said}", code="unreachable") from None
        # What is in the file is not to blame: it may be restored from an archive, or a clock set right.
        raise FatalError(f"{where}: S3 refuses ({said})", code="read-failed", details={"passing": True}) from None


class _S3Upload(PartedUpload):
    def __init__(self, store: S3Store, key: str) -> None:
        super().__init__()
        self._store, self._where = store, {"Bucket": store.bucket, "Key": key}
        self._upload: dict[str, str] = {}
        self._parts: list[dict[str, Any]] = []

    def whole(self, data: bytes) -> Stored:
        with self._store._asking():
            made = self._store._client.put_object(**self._where, Body=data)
        return Stored(self._store, self._where["Key"], len(data), made["ETag"])

    def part(self, number: int, data: bytes) -> None:
        client = self._store._client
        with self._store._asking():
            if not number:
                self._upload = {"UploadId": client.create_multipart_upload(**self._where)["UploadId"]}
            sent = client.upload_part(**self._where, **self._upload, PartNumber=number + 1, Body=data)
        self._parts.append({"PartNumber": number + 1, "ETag": sent["ETag"]})

    def complete(self) -> Stored:
        with self._store._asking():
            try:
                self._store._client.complete_multipart_upload(**self._where, **self._upload, MultipartUpload={"Parts": self._parts})
            except ClientError as error:
                # Its answer was lost, and it was repeated: the name is of this attempt alone, so what is there is this file.
                if _code(error) != "NoSuchUpload" or self._store.look(self._where["Key"]) is None:
                    raise
        return self._store.written(self._where["Key"])

    def abandon(self) -> None:
        self._store._client.abort_multipart_upload(**self._where, **self._upload)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _again() -> Retrying:
    return Retrying(
        retry=retry_if_exception_type(_BROKEN), stop=stop_after_attempt(4), wait=wait_random_exponential(0.2, max=5), reraise=True
    )
