#!/usr/bin/env python3
"""Asks a deployment from outside what must hold after every release: deploy/smoke.py https://crm.acme.com

Needs nothing but Python, knows no key and changes nothing: whatever it posts must be refused. A question is repeated
until its answer is right, since a gateway needs a moment to find new processes. Exit status 0, or 1 and what is wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import urljoin

ANSWER_SECONDS = 10.0
"""How long an answer may take."""

PAUSE_SECONDS = 2.0
"""Between two attempts at a question."""

READ_BYTES = 4_000_000
"""More than any page or script of ours has."""

MARK_HEADER = "X-Embudo-Installation"
"""Header that every web of ours sends with /healthz (app.kit.health)."""

DOORS = {"whatsapp": "/flows", "leads": "/leads", "email": "/email", "webhooks": "/webhooks"}
"""Service → a door of it that takes a POST with a key."""

INSIDE = ("/metrics", "/internal")
"""What must not be had from outside without a secret."""

BUILT = "/build/"
"""In the address of whatever `make build` made."""

UNKNOWN_KEY = "emb_no-such-key-the-smoke-test-asks"


class Wrong(Exception):
    """An answer that must not be; the text says which."""


@dataclass(frozen=True)
class Answer:
    """What came back. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        """Its media type."""
        return self.headers.get("content-type", "").partition(";")[0]

    @property
    def json(self) -> Any:
        """The body as JSON; None when it is something else."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer: whoever follows it tests another address."""

    def redirect_request(self, *_: Any) -> None:
        """Go nowhere."""


class Site:
    """The deployment. url: where people reach it."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._opener = urllib.request.build_opener(_Stay)

    def get(self, path: str) -> Answer:
        """Raises Wrong when nobody answers."""
        return self._ask(urllib.request.Request(urljoin(f"{self.url}/", path)))  # noqa: S310 (http only, see below)

    def post(self, path: str, key: str = "") -> Answer:
        """POST an empty object, with an API key or without one. Raises Wrong when nobody answers."""
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        request = urllib.request.Request(self.url + path, data=b"{}", headers=headers, method="POST")  # noqa: S310
        return self._ask(request)

    def _ask(self, request: urllib.request.Request) -> Answer:
        request.add_header("User-Agent", "embudo-smoke")
        try:
            with self._opener.open(request, timeout=ANSWER_SECONDS) as found:
                return self._read(found.status, found)
        except urllib.error.HTTPError as error:
            with error:
                return self._read(error.code, error)
        except (OSError, ValueError) as error:
            raise Wrong(f"no answer ({getattr(error, 'reason', None) or error})") from error

    @staticmethod
    def _read(status: int, found: Any) -> Answer:
        headers = {name.lower(): value for name, value in found.headers.items()}
        return Answer(status, headers, found.read(READ_BYTES))


def alive(site: Site) -> None:
    """It is Embudo that answers there."""
    answer = site.get("/healthz")
    _expect(answer, 200)
    if answer.json != {"status": "ok"} or not answer.headers.get(MARK_HEADER.lower()):
        raise Wrong("somebody answers, but not Embudo")


def log_in_page(site: Site) -> None:
    """People see a page, with all that belongs to it."""
    page = site.get("/login/")
    _expect(page, 200)
    text = page.body.decode("utf-8", "replace")
    if 'name="password"' not in text:
        raise Wrong("the page has no field for a password")
    found = re.findall(r'<(?:link rel="stylesheet"|script)[^>]* (?:href|src)="([^"]+)"', text)
    parts = sorted({unescape(part) for part in found})
    if not any(BUILT in part for part in parts):
        raise Wrong("the front end was not built into this release")
    for part in parts:
        if (status := site.get(part).status) != 200:
            raise Wrong(f"its part {part} is answered {status}")


def refuses(door: str) -> Callable[[Site], None]:
    """A door that must know who knocks. It looks keys up, so this says too that the platform's database answers."""

    def ask(site: Site) -> None:
        for key in ("", UNKNOWN_KEY):
            answer = site.post(door, key)
            _expect(answer, 401)
            if answer.kind != "application/problem+json":
                raise Wrong("401 is said by something before Embudo")

    return ask


def unsigned(site: Site) -> None:
    """What no provider has signed does not come in."""
    answer = site.post("/message")
    if not 400 <= answer.status < 500 or answer.kind != "application/problem+json":
        raise Wrong(f"a message without a signature is answered {answer.status}")


def hides(path: str) -> Callable[[Site], None]:
    """A path that must not be had from outside, whoever says so: the gateway or the application."""

    def ask(site: Site) -> None:
        answer = site.get(path)
        if answer.status < 400:
            raise Wrong(f"everybody may have it ({answer.status})")

    return ask


def _expect(answer: Answer, status: int) -> None:
    if answer.status != status:
        raise Wrong(f"{answer.status} instead of {status}")


def questions(service: str = "") -> dict[str, Callable[[Site], None]]:
    """What is asked, by what people read of it. service: leave out what only another one answers; "" for all."""
    doors = {name: door for name, door in DOORS.items() if service in ("", name)}
    message = {"POST /message: refused without a signature": unsigned} if "whatsapp" in doors else {}
    return {
        "GET /healthz: Embudo answers": alive,
        "GET /login/: people can log in": log_in_page,
        **{f"POST {door}: {name} refuses who has no key": refuses(door) for name, door in doors.items()},
        **message,
        **{f"GET {path}: hidden": hides(path) for path in INSIDE},
    }


def main(url: str, seconds: float, service: str = "") -> int:
    """Ask everything; the exit status.

    seconds: how long all of it may take to become right. service: ask this one alone; "" for all.
    """
    site, deadline, failed = Site(url), time.monotonic() + seconds, 0
    asked = questions(service)
    for text, ask in asked.items():
        while True:
            try:
                ask(site)
            except Wrong as wrong:
                if time.monotonic() + PAUSE_SECONDS < deadline:
                    time.sleep(PAUSE_SECONDS)
                    continue
                failed += 1
                print(f"WRONG  {text}: {wrong}", flush=True)
                if ask is alive:
                    return 1  # nothing else is worth asking
            else:
                print(f"ok     {text}", flush=True)
            break
    print(f"{url}: {failed} of {len(asked)} wrong" if failed else f"{url} answers as it must", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="where people reach it, such as https://crm.acme.com")
    parser.add_argument("--seconds", type=float, default=60, help="how long it may take to become right (60)")
    parser.add_argument(
        "--service", choices=DOORS, default="", help="ask what this service answers, not the others"
    )
    options = parser.parse_args()
    if not options.url.startswith(("http://", "https://")):
        parser.error("the url begins with http:// or https://")
    sys.exit(main(options.url, options.seconds, options.service))
