"""An HTTP server on 127.0.0.1 that stands for a provider: it remembers every request and fails when it is
told to.

A real socket, because the failures that matter (no answer, a connection cut after the body was read) do not
exist in a mock of our HTTP client.
"""

from __future__ import annotations

import argparse
import json
import signal
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

PATIENCE = 30.0  # seconds after which a stalled connection is closed anyway


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request as it came; header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.time)

    @property
    def form(self) -> dict[str, str]:
        """The form's fields, the first value of each."""
        return {
            name: values[0] for name, values in parse_qs(self.body.decode(), keep_blank_values=True).items()
        }

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server says: body as JSON, or the bytes as they are."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def payload(self) -> bytes:
        """The bytes of the body."""
        return (
            self.body if isinstance(self.body, bytes) else json.dumps(self.body, ensure_ascii=False).encode()
        )


@dataclass(frozen=True, kw_only=True)
class Stall:
    """Never answer. accepted: do what was asked all the same, as a provider that is too slow may."""

    accepted: bool = False


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Cut the connection after the body was read. accepted: as in Stall."""

    accepted: bool = False


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Do what was asked and answer as usual, but only when freed."""


Plan = Answer | Stall | Drop | Hold


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the usual 5, a burst ends in connections that are reset after a second


class LoopbackServer:
    """Base of the stand-ins. A subclass answers in `handle`, which must be safe to call from several
    threads."""

    def __init__(
        self, port: int = 0, on_request: Callable[[Received, int | None], None] | None = None
    ) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self._plans: list[Plan] = []
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._on_request = on_request
        self._server = _Server(("127.0.0.1", port), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The base address, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def plan(self, *plans: Plan) -> None:
        """The next requests meet these, one each, in this order; those after them are handled as usual."""
        with self._lock:
            self._plans.extend(plans)

    def free(self) -> None:
        """Close every connection that stalls, answer those that are held, and forget what was planned."""
        with self._lock:
            self._plans.clear()
            released, self._released = self._released, threading.Event()
        released.set()

    def handle(self, request: Received) -> Answer:
        """The provider's usual answer."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def _take(self, request: Received) -> tuple[Plan | None, threading.Event]:
        """What this request meets, and what frees it: both at once, or free() would come between them."""
        with self._lock:
            self.requests.append(request)
            return self._plans.pop(0) if self._plans else None, self._released

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or each kept connection answers 40 ms late
            wbufsize = -1  # head and body leave together

            def setup(self) -> None:
                super().setup()
                with loopback._lock:
                    loopback.connections += 1

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:  # the other side hung up, which some tests are about
                    return

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                target = urlsplit(self.path)
                request = Received(
                    method=self.command,
                    path=target.path,
                    query=target.query,
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=self.rfile.read(length),
                )
                plan, released = loopback._take(request)
                if isinstance(plan, Stall | Drop):
                    if plan.accepted:
                        loopback.handle(request)
                    if isinstance(plan, Stall):
                        released.wait(PATIENCE)
                    self._note(request, None)
                    self.close_connection = True
                    return
                answer = plan if isinstance(plan, Answer) else loopback.handle(request)
                if isinstance(plan, Hold):
                    released.wait(PATIENCE)
                self._note(request, answer.status)
                if "Date" in answer.headers:  # a server whose clock is another one
                    self.send_response_only(answer.status)
                else:
                    self.send_response(answer.status)
                for name, value in ({"Content-Type": "application/json"} | dict(answer.headers)).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.payload)))
                self.end_headers()
                self.wfile.write(answer.payload)

            do_GET = do_POST
            do_DELETE = do_POST
            do_PATCH = do_POST
            do_PUT = do_POST

            def _note(self, request: Received, status: int | None) -> None:
                if loopback._on_request:
                    loopback._on_request(request, status)

            def log_message(self, *_: object) -> None:
                """Silence: the requests are kept, and headers hold tokens."""

        return Handler


def serve(make: Callable[[int, Callable[[Received, int | None], None]], LoopbackServer]) -> None:
    """Run a stand-in as a process: --port N; one JSON line on stdout per request, the first line tells
    the address."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())

    def tell(request: Received, status: int | None) -> None:
        line = {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "headers": dict(request.headers),
            "body": request.body.decode("utf-8", "replace"),
            "body_base64": b64encode(request.body).decode(),
            "status": status,
            "at": request.at,
        }
        print(json.dumps(line, ensure_ascii=False), flush=True)

    with make(arguments.port, tell) as server:
        print(json.dumps({"listening": server.url}), flush=True)
        over.wait()
