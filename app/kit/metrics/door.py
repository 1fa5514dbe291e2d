"""Where Prometheus asks: /metrics on the web, and on a port of its own for processes without a door.

It tells how much is sold to whom at what pace, so it asks for a token; and without a token set nothing is there at all.
"""

from __future__ import annotations

import hmac
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import orjson
from flask import Blueprint, Flask, Response, current_app, request
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app.kit import telemetry
from app.kit.auth import public
from app.kit.errors import NotFound, Unauthorized
from app.kit.metrics import shared, state
from app.kit.rest import documented

PATH = "/metrics"

log = telemetry.get_logger("metrics")

bp = Blueprint("metrics", __name__)


@bp.get(PATH)
@public("asks for METRICS_TOKEN as “Authorization: Bearer …”")
@documented(
    summary="Counters and state, for Prometheus",
    content={200: {"text/plain": {"type": "string"}}},
    refusals=(401, 404),
    tags=("operations",),
)
def metrics() -> Response:
    """Everything, in Prometheus's text format; 404 where no METRICS_TOKEN is set."""
    token = str(current_app.config["METRICS_TOKEN"] or "")
    if not token:
        raise NotFound("such page")
    if not _is_token(request.headers.get("Authorization", ""), token):
        raise Unauthorized("Send METRICS_TOKEN as “Authorization: Bearer …”.")
    return Response(_text(_Gauges()), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def serve(app: Flask) -> Callable[[], None] | None:
    """A function that answers Prometheus on METRICS_PORT for ever, or None when no port is set.

    For workers and relays: counters only. State is told by every web, and would be counted twice.
    The port is taken at once: a process that cannot have it ends here and says so.
    """
    port = app.config["METRICS_PORT"]
    if not port:
        return None
    token = str(app.config["METRICS_TOKEN"])

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, headers, body = _answer(environ, token)
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [body]

    try:
        server = _Server((app.config["METRICS_HOST"], port), _QuietHandler)
    except OSError as error:
        sys.exit(f"METRICS_PORT={port} cannot be used ({error.strerror}); choose another.")
    server.set_app(answer)
    return server.serve_forever


def _answer(environ: dict[str, Any], token: str) -> tuple[str, list[tuple[str, str]], bytes]:
    if environ["PATH_INFO"] != PATH or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return _problem(404, "Not found", f"There is only {PATH} here.")
    if not _is_token(environ.get("HTTP_AUTHORIZATION", ""), token):
        status, headers, body = _problem(
            401, "Unauthorized", "Send METRICS_TOKEN as “Authorization: Bearer …”."
        )
        return status, [*headers, ("WWW-Authenticate", 'Bearer realm="Embudo"')], body
    return "200 OK", [("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)], _text()


def _problem(status: int, title: str, detail: str) -> tuple[str, list[tuple[str, str]], bytes]:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return f"{status} {title}", [("Content-Type", "application/problem+json")], orjson.dumps(body)


def _is_token(header: str, token: str) -> bool:
    kind, _, given = header.partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def _text(*gauges: Collector) -> bytes:
    """Everything these processes counted, and the gauges, as Prometheus reads it."""
    registry = CollectorRegistry()
    registry.register(_Counters())
    for collector in gauges:
        registry.register(collector)
    return generate_latest(registry)


def _counted() -> Iterable[Metric]:
    folder = shared.folder()
    if folder is None:
        return [metric for counter in telemetry.COUNTED for metric in counter.collect()]
    files = [str(file) for file in Path(folder).glob("*.db")]
    merged: Iterable[Metric] = MultiProcessCollector.merge(files)
    return merged


class _Counters(Collector):
    """The counters of this process, or of all that share its folder."""

    def collect(self) -> Iterator[Metric]:
        """One family per counter, also for those that nothing was counted of."""
        found = {metric.name: metric for metric in _counted()}
        for counted in telemetry.COUNTED:
            (empty,) = counted.describe()
            yield found.get(empty.name, empty)


class _Gauges(Collector):
    """State, as the running app sees it."""

    def collect(self) -> Iterator[Metric]:
        """One family per gauge."""
        yield from state.families()


class _Server(ThreadingMixIn, WSGIServer):
    """A thread per question; those still asked when the process ends are not waited for."""

    daemon_threads = True
    request_queue_size = 16

    def server_bind(self) -> None:
        """Bind without asking the DNS for the host's name, which WSGIServer wants to know."""
        # A process that was killed leaves connections behind; who takes its place must not wait a minute for the port.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _QuietHandler(WSGIRequestHandler):
    """Asked every few seconds by a machine: not worth a log line. Who says nothing for long is cut off."""

    timeout = 10

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""
