"""The product on a socket, as people reach it, with something before it that may answer in its place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from flask import Flask
from werkzeug.serving import make_server

Said = tuple[int, str, bytes]
"""Status, media type and body."""


@dataclass
class Site:
    """instead: given method and path, what is said in the product's place, or None. asked: (method, path), in order."""

    url: str = ""
    instead: Callable[[str, str], Said | None] = lambda _method, _path: None
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def serve(app: Flask) -> Iterator[Site]:
    """The app on a port of its own."""
    site = Site()

    def before(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        site.asked.append((method, path))
        said = site.instead(method, path)
        if said is None:
            return app(environ, start_response)
        status, kind, body = said
        start_response(f"{status} {HTTPStatus(status).phrase}", [("Content-Type", kind)])
        return [body]

    server = make_server("127.0.0.1", 0, before, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
