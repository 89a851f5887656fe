"""moto's S3 over HTTP, on loopback unless told otherwise, in a process of its own, with faults on demand.

moto tests a conditional PUT and then puts, in two steps: here one lock is held around each PUT, as a real store would
decide it. `POST /faults` with `{"share": …, "kinds": […], "seed": …}` lets a share of the requests go wrong:

    refuse   answered 503 SlowDown, nothing done
    delay    done after a while
    cut      the connection ends while the body is being sent; nothing done
    lost     done, but the connection ends without an answer
    torn     done, but the connection ends in the middle of the answer's body
    repeat   done twice, as if a proxy had sent it again; the second answer is returned

`GET /faults` tells how many of each there were.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

ROOT = Path(__file__).parents[1]
KINDS = ("refuse", "delay", "cut", "lost", "torn", "repeat")
_LOOPBACK = "127.0.0.1"
_DELAY_S = 0.3
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
Answer = Callable[[str, list[tuple[str, str]]], Any]


class Faulty:
    """A WSGI application before moto's."""

    def __init__(self, application: Callable[[dict[str, Any], Answer], Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._puts = threading.Lock()
        self._share = 0.0
        self._kinds: list[str] = []
        self._draws = np.random.default_rng(0)
        self._counts: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], answer: Answer) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/faults":
            return self._configure(environ, answer)
        kind = self._draw()
        environ["wsgi.input"] = _Body(environ)
        if kind == "refuse":
            answer("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(_SLOW_DOWN)))])
            return [_SLOW_DOWN]
        if kind == "cut":
            self._hang_up(environ)
        if kind == "delay":
            time.sleep(_DELAY_S)
        if kind == "repeat":
            self._do(environ)
            environ["wsgi.input"].rewind()
        status, headers, body = self._do(environ)
        if kind == "lost":
            self._hang_up(environ)
        answer(status, headers)
        if kind == "torn" and len(body) > 1:
            return self._half(environ, body)
        return [body]

    def _do(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
        told: list[Any] = []
        with self._puts:
            body = b"".join(self._application(environ, lambda status, headers, *_: told.extend((status, headers))))
        return told[0], told[1], body

    def _half(self, environ: dict[str, Any], body: bytes) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        self._hang_up(environ)

    def _hang_up(self, environ: dict[str, Any]) -> NoReturn:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionResetError

    def _draw(self) -> str | None:
        with self._lock:
            kind = str(self._draws.choice(self._kinds)) if self._draws.random() < self._share else None
            self._counts[kind or "none"] += 1
            return kind

    def _configure(self, environ: dict[str, Any], answer: Answer) -> Iterable[bytes]:
        with self._lock:
            if environ["REQUEST_METHOD"] == "POST":
                wanted = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
                self._share, self._kinds = wanted["share"], wanted["kinds"]
                self._draws = np.random.default_rng(wanted["seed"])
                self._counts.clear()
            answer("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self._counts).encode()]


class _Body:
    """A request's body, read whole: a connection that is kept open must not be left with a rest of it."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._bytes: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        self._place = 0

    def read(self, size: int | None = -1) -> bytes:
        stop = len(self._bytes) if size is None or size < 0 else self._place + size
        piece = self._bytes[self._place : stop]
        self._place += len(piece)
        return piece

    def readline(self, _size: int = -1) -> bytes:
        end = self._bytes.find(b"\n", self._place) + 1
        return self.read((end or len(self._bytes)) - self._place)

    def rewind(self) -> None:
        self._place = 0


class S3Server:
    """A server that runs; `environment` leads a process to it."""

    def __init__(self, host: str, port: int) -> None:
        self.address = f"http://{host}:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing-secret",
            "AWS_REGION": "us-east-1",
        }

    def make_bucket(self, name: str) -> str:
        """Make a bucket; returns its address."""
        urllib.request.urlopen(urllib.request.Request(f"{self.address}/{name}", method="PUT"))
        return f"s3://{name}"

    def fail(self, share: float, kinds: Iterable[str] = KINDS, *, seed: int = 0) -> None:
        """Let a share (0..1) of the requests from now on go wrong."""
        wanted = json.dumps({"share": share, "kinds": list(kinds), "seed": seed}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.address}/faults", data=wanted, method="POST"))

    def counts(self) -> dict[str, int]:
        """Requests since `fail`, by what went wrong."""
        with urllib.request.urlopen(f"{self.address}/faults") as told:
            found: dict[str, int] = json.load(told)
            return found


@contextmanager
def s3_server(host: str = _LOOPBACK) -> Iterator[S3Server]:
    """Run a server at an address of this machine until the block ends."""
    command = [sys.executable, "-m", "devtools.s3_server", host]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None  # noqa: S101
        yield S3Server(host, int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()


def main(host: str) -> None:
    """Serve until killed; the port is the first line on stdout."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    os.environ.setdefault("MOTO_ALLOW_NONEXISTENT_REGION", "1")
    application = Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server(host, 0, application, threaded=True)
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
