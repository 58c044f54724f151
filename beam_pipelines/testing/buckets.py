"""Real servers of buckets on loopback, in this process: `moto` speaks the API of S3, `gcp-storage-emulator` that of Google Cloud Storage.

Both keep objects in memory. `Proxy` stands before either, and answers in its stead where a test wants it to.
"""

from __future__ import annotations

import http.client
import logging
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, cast
from urllib.parse import urlsplit

from typing_extensions import Self

__all__ = ["BucketServer", "GcsServer", "Proxy", "S3Server"]


class BucketServer(ABC):
    """A server of one of the two; a context manager that starts and stops it."""

    scheme: str
    url: str

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def make(self, bucket: str) -> None:
        """Make a bucket."""

    @abstractmethod
    def connection(self, bucket: str, endpoint: str | None = None) -> dict[str, str]:
        """What the connections file says of one."""

    @abstractmethod
    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Make an object of somebody else."""

    @abstractmethod
    def keys(self, bucket: str) -> list[str]:
        """Of every object."""

    @abstractmethod
    def objects(self, bucket: str, suffix: str = "") -> dict[str, bytes]:
        """Every object whose key ends so, by its key."""

    @abstractmethod
    def remove(self, bucket: str, key: str) -> None:
        """Remove an object."""

    def begun(self, bucket: str) -> list[str]:  # noqa: ARG002
        """Keys of uploads in parts that are neither finished nor given up, as far as the server tells."""
        return []


class S3Server(BucketServer):
    """The API of S3. It takes every key."""

    scheme = "s3"
    access_key, secret_key = "AKIATESTTESTTEST", "sEcReT-of-the-s3-server/+="

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        import boto3

        self.client: Any = boto3.session.Session().client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key
        )

    def stop(self) -> None:
        self._server.stop()

    def make(self, bucket: str) -> None:
        self.client.create_bucket(Bucket=bucket)

    def connection(self, bucket: str, endpoint: str | None = None) -> dict[str, str]:
        given = {"endpoint": endpoint or self.url, "accessKey": self.access_key, "secretKey": self.secret_key}
        return {"url": f"s3://{bucket}", **given}

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def keys(self, bucket: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def objects(self, bucket: str, suffix: str = "") -> dict[str, bytes]:
        keys = [key for key in self.keys(bucket) if key.endswith(suffix)]
        return {key: self.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def remove(self, bucket: str, key: str) -> None:
        self.client.delete_object(Bucket=bucket, Key=key)

    def begun(self, bucket: str) -> list[str]:
        return [upload["Key"] for upload in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())]


class GcsServer(BucketServer):
    """The API of Google Cloud Storage. It takes everybody."""

    scheme = "gs"

    def start(self) -> None:
        from gcp_storage_emulator.server import create_server
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._server = create_server("127.0.0.1", port, in_memory=True)
        self._server.start()
        self.url = f"http://127.0.0.1:{port}"
        self.client: Any = storage.Client(project="test", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.url})

    def stop(self) -> None:
        self._server.stop()

    def make(self, bucket: str) -> None:
        self.client.create_bucket(bucket)

    def connection(self, bucket: str, endpoint: str | None = None) -> dict[str, str]:
        return {"url": f"gs://{bucket}", "endpoint": endpoint or self.url}

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.client.bucket(bucket).blob(key).upload_from_string(data)

    def keys(self, bucket: str) -> list[str]:
        return [blob.name for blob in self.client.list_blobs(bucket)]

    def objects(self, bucket: str, suffix: str = "") -> dict[str, bytes]:
        # Anew, for those of a list have a link to where they were put, which may have been a proxy.
        names = [name for name in self.keys(bucket) if name.endswith(suffix)]
        return {name: self.client.bucket(bucket).blob(name).download_as_bytes() for name in names}

    def remove(self, bucket: str, key: str) -> None:
        self.client.bucket(bucket).blob(key).delete()


class Proxy:
    """A server before another, which asks for each request how to answer it.

    Args:
        url: Of the other.
        answer: Given the number of a request (from 0), its method and its path: a status to answer with, `-1` to break off in the middle
            of what the other answers, None to let it through.
    """

    def __init__(self, url: str, answer: Callable[[int, str, str], int | None]) -> None:
        self.seen: list[tuple[str, str]] = []
        self.answer = answer
        behind = urlsplit(url).netloc
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (that of the base)
                pass

            def handle_any(self) -> None:
                body = self._body()
                number = len(outer.seen)
                outer.seen.append((self.command, self.path))
                status = outer.answer(number, self.command, self.path)
                if status is not None and status >= 0:
                    self._send(status, {}, b"")
                    return
                other = http.client.HTTPConnection(behind, timeout=30)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in ("transfer-encoding", "connection")}
                headers["Content-Length"] = str(len(body))
                other.request(self.command, self.path, body, headers)
                found = other.getresponse()
                data = found.read()
                other.close()
                self._send(found.status, dict(found.getheaders()), data, cut=status == -1)

            def _body(self) -> bytes:
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def _send(self, status: int, headers: dict[str, str], data: bytes, cut: bool = False) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value.replace(f"http://{behind}", outer.url))
                length = headers.get("Content-Length") or headers.get("content-length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data[: len(data) // 2] if cut else data)
                if cut:
                    self.close_connection = True

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = handle_any  # noqa: N815 (names of the base)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        host, port = cast("tuple[str, int]", self._server.server_address[:2])
        self.url = f"http://{host}:{port}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
