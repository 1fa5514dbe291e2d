"""deploy/smoke.py lets a working deployment pass and stops each broken one, saying what is wrong with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import text

from app.kit import auth, db
from app.kit.health import MARK_HEADER
from app.services import SERVICES
from deploy import smoke
from tests.fakes.ports import free_port
from tests.fakes.site import Said, Site, serve
from tests.journeys.processes import ROOT

HTML, JSON = "text/html", "application/json"


@pytest.fixture
def site(app: Flask) -> Iterator[Site]:
    with serve(app) as made:
        yield made


def ask(url: str, seconds: int = 0) -> tuple[int, str]:
    """What the script says, as people run it."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "smoke.py"), url, "--seconds", str(seconds)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_the_product_passes_and_nothing_is_written(app: Flask, site: Site) -> None:
    status, said = ask(site.url)
    assert status == 0, said
    assert said.splitlines()[-1] == f"{site.url} answers as it must"
    assert {path for method, path in site.asked if method == "POST"} == {*smoke.DOORS.values(), "/message"}
    with db.engine_of("whatsapp").connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM whatsapp_webhook")) == 0


def test_every_service_is_asked_at_a_door_of_its_own_that_wants_a_key(app: Flask) -> None:
    assert set(smoke.DOORS) == set(SERVICES)
    views = {rule.rule: rule.endpoint for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())}
    for name, door in smoke.DOORS.items():
        assert door in SERVICES[name].paths
        assert app.view_functions[views[door]].embudo_auth in auth.SCOPES
    assert smoke.MARK_HEADER == MARK_HEADER


@pytest.mark.parametrize(
    ("method", "path", "said", "complaint"),
    [
        ("GET", "/healthz", (200, JSON, b'{"status": "ok"}'), "somebody answers, but not Embudo"),
        ("GET", "/healthz", (502, HTML, b"Bad gateway"), "502 instead of 200"),
        ("GET", "/login/", (302, HTML, b""), "302 instead of 200"),
        ("GET", "/login/", (200, HTML, b'<input name="password">'), "the front end was not built"),
        ("GET", "/static/admin/build/", (404, HTML, b""), "is answered 404"),
        ("POST", "/leads", (201, JSON, b"{}"), "leads refuses who has no key: 201 instead of 401"),
        ("POST", "/email", (503, "application/problem+json", b"{}"), "503 instead of 401"),
        ("POST", "/webhooks", (401, HTML, b"Log in"), "said by something before Embudo"),
        ("POST", "/message", (200, JSON, b""), "a message without a signature is answered 200"),
        ("GET", "/metrics", (200, "text/plain", b""), "GET /metrics: hidden: everybody may have it"),
        ("GET", "/internal", (302, HTML, b""), "GET /internal: hidden: everybody may have it"),
    ],
)
def test_each_fault_stops_the_release_and_is_named(
    site: Site, method: str, path: str, said: Said, complaint: str
) -> None:
    def instead(asked: str, where: str) -> Said | None:
        return (
            said
            if asked == method and (where.startswith(path) if path.endswith("build/") else where == path)
            else None
        )

    site.instead = instead
    status, printed = ask(site.url)
    assert status == 1
    assert [complaint in line for line in printed.splitlines() if line.startswith("WRONG")] == [True], printed


def test_a_key_that_cannot_be_looked_up_stops_the_release(app: Flask, site: Site) -> None:
    with db.engine_of(db.PLATFORM).begin() as connection:
        connection.execute(text("ALTER TABLE platform_api_key RENAME TO elsewhere"))
    status, printed = ask(site.url)
    assert status == 1
    assert printed.count("WRONG") == len(SERVICES), printed


def test_where_nobody_answers_nothing_else_is_asked() -> None:
    status, printed = ask(f"http://127.0.0.1:{free_port()}")
    assert status == 1
    assert "no answer" in printed and len(printed.splitlines()) == 1


def test_a_gateway_may_take_a_moment_to_find_the_new_processes(site: Site) -> None:
    site.instead = lambda _method, _path: (503, HTML, b"") if len(site.asked) == 1 else None
    assert ask(site.url, seconds=60)[0] == 0
