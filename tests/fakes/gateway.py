"""A real NGINX with the product's own configuration, on a port of its own."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from app import services
from app.kit import gateway
from tests.fakes.ports import free_port
from tests.ops.waiting import wait_for

GENEROUS = {
    "GATEWAY_RATE_KEY": "1000r/s",
    "GATEWAY_RATE_ADDRESS": "1000r/s",
    "GATEWAY_RATE_CALLBACK": "1000r/s",
    "GATEWAY_RATE_LOGIN": "1000r/s",
}
"""Limits that no test about something else meets."""


def program() -> str:
    """nginx; raises RuntimeError where it is missing."""
    found = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if found is None:
        raise RuntimeError("nginx is missing; Debian: apt install nginx")
    return found


class Gateway:
    """upstreams: service → [host:port]. environ: further GATEWAY_ settings."""

    def __init__(
        self, upstreams: Mapping[str, list[str]], *, port: int | None = None, **environ: str
    ) -> None:
        self.port = port or free_port()
        # Not in pytest's folders: nginx's workers are another user, who may not look into those.
        self.folder = Path(tempfile.mkdtemp(prefix="embudo-gateway-"))
        self.folder.chmod(0o755)
        self.configuration = self.folder / "nginx.conf"
        settings = {
            **GENEROUS,
            **{f"{name.upper()}_UPSTREAM": " ".join(found) for name, found in upstreams.items()},
            "GATEWAY_LISTEN": f"127.0.0.1:{self.port}",
            "GATEWAY_LOG": str(self.folder / "access.log"),
            "GATEWAY_TEMP": str(self.folder),
            **environ,
        }
        self.configuration.write_text(gateway.nginx(services.routes(), settings))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the world comes in."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        with (self.folder / "error.log").open("ab") as output:
            self._process = subprocess.Popen(
                [program(), "-c", str(self.configuration), "-e", "stderr", "-g", "daemon off;"],
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        wait_for(lambda: (self.folder / "gateway.pid").exists(), lambda: f"nginx starts: {self.said()}")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def said(self) -> str:
        """What nginx complained about."""
        return (self.folder / "error.log").read_text()

    def log(self, request_id: str) -> dict[str, Any]:
        """The access log's line about a request."""

        def find() -> dict[str, Any] | None:
            lines = (self.folder / "access.log").read_text().splitlines()
            return next((line for line in map(json.loads, lines) if line["request_id"] == request_id), None)

        return wait_for(find, f"a line about {request_id}")
