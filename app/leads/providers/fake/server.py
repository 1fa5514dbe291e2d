"""The stand-in as a server of its own, for tests, benchmarks and who wants to look at it with other tools."""

from __future__ import annotations

import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from app.leads.providers import MAC_HEADER
from app.leads.providers.fake.answers import Ask
from app.leads.providers.fake.hooks import Ping
from app.leads.providers.fake.standin import StandIn

PING_SECONDS = 5.0
PINGS_KEPT = 1000
BODY_BYTES = 10_000_000


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the usual 5, a burst ends in connections that are reset after a second


@contextmanager
def serve(stand_in: StandIn, port: int = 0) -> Iterator[str]:
    """Answer on 127.0.0.1 while the block runs; gives the address."""
    server = _Server(("127.0.0.1", port), _handler(stand_in))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            target = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            if length > BODY_BYTES:
                self.send_error(413)
                return
            answer = stand_in.handle(
                Ask(
                    method=self.command,
                    path=target.path,
                    query=parse_qs(target.query),
                    token=(self.headers.get("Authorization") or "").removeprefix("Bearer ").strip(),
                    body=self.rfile.read(length),
                )
            )
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(answer.payload)))
            self.end_headers()
            self.wfile.write(answer.payload)

        do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815 (names that http.server calls)

        def log_message(self, *_: Any) -> None:
            """Silence: headers hold tokens."""

    return Handler


class Pinger:
    """Delivers pings one after the other in a thread of its own; a receiver that fails is not asked again."""

    def __init__(self, failed: Callable[[str], None] | None = None) -> None:
        self._waiting: queue.Queue[Ping] = queue.Queue(PINGS_KEPT)
        self._failed = failed
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def __call__(self, ping: Ping) -> None:
        """Deliver it soon."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._deliver, daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(ping)
        except queue.Full:
            return

    def _deliver(self) -> None:
        while True:
            ping = self._waiting.get()
            headers = {"Content-Type": "application/json", MAC_HEADER: ping.mac}
            request = urllib.request.Request(ping.url, data=ping.body, headers=headers)  # noqa: S310
            try:
                with urllib.request.urlopen(request, timeout=PING_SECONDS):  # noqa: S310
                    pass
            except (urllib.error.URLError, OSError, ValueError) as error:
                if self._failed is not None:
                    self._failed(type(error).__name__)
