"""What somebody with bad intentions tries first."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_appbuilder.security.sqla.models import User
from sqlalchemy import select

from app.admin import reset_password
from app.contracts.problems import MOST_SHOWN
from app.kit import db
from config import Config
from tests.conftest import ADMIN_PASSWORD, log_in

TAG = "<img src=x onerror=alert(1)>"
BREAKOUT = "\"'><svg onload=alert(2)></script><script>alert(3)</script>"
NEVER = ("<img src=x", "<svg onload", "<script>alert(", "</script><script>")


def token_of(page: str) -> str:
    return page.partition('name="csrf_token"')[2].partition('value="')[2].partition('"')[0]


# --- sessions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "http:evil.example",
     "http:///evil.example", "javascript:alert(1)", "https://localhost@evil.example/", "\thttps://evil.example",
     "//evil.example\\@localhost/", "data:text/html,x", "http://localhost.evil.example/"],
)  # fmt: skip
def test_nobody_is_led_elsewhere_after_the_login(client: FlaskClient, target: str) -> None:
    page = client.get("/login/", query_string={"next": target})
    answer = client.post(
        "/login/",
        query_string={"next": target},
        data={"username": "admin", "password": ADMIN_PASSWORD, "csrf_token": token_of(page.text)},
    )
    assert answer.status_code == 302
    _is_ours(answer.location)
    again = client.get("/login/", query_string={"next": target})  # somebody who is logged in already
    assert again.status_code == 302
    _is_ours(again.location)


def _is_ours(location: str) -> None:
    assert not re.match(r"[\\/\s]{2}|\s", location), location
    assert urlsplit(location).netloc in ("", "localhost"), location
    assert urlsplit(location).scheme in ("", "http"), location


def test_choosing_a_language_leads_nobody_elsewhere(client: FlaskClient) -> None:
    for referrer in ("https://evil.example/x", "//evil.example", "http://localhost//evil.example"):
        _is_ours(client.get("/lang/en", headers={"Referer": referrer}).location)


def test_a_cookie_from_before_the_login_is_nobody_s_afterwards(app: Flask, client: FlaskClient) -> None:
    client.get("/login/")
    planted = client.get_cookie("embudo")
    assert planted is not None
    log_in(client, "admin")
    other = app.test_client()
    other.set_cookie("embudo", planted.value)
    assert other.get("/").status_code == 302


def test_a_new_password_ends_the_sessions_of_the_old_one(app: Flask, make_user: Callable[..., Any]) -> None:
    make_user("manager")
    mine, stolen = (log_in(app.test_client(), "manager") for _ in range(2))
    form = token_of(mine.get("/password/").text)
    new = "a quite different sentence"
    answer = mine.post(
        "/password/",
        data={"current": ADMIN_PASSWORD, "password": new, "conf_password": new, "csrf_token": form},
    )
    assert answer.status_code == 302, answer.text[:1000]
    assert mine.get("/").status_code == 200, "who changed it stays"
    assert stolen.get("/").status_code == 302
    assert stolen.get("/leads").status_code == 401
    with db.own_context():
        assert reset_password("manager")
    assert mine.get("/").status_code == 302


def test_a_user_who_was_switched_off_is_out_at_once(app: Flask, make_user: Callable[..., Any]) -> None:
    user = make_user("manager")
    browser = log_in(app.test_client(), "manager")
    user.active = False
    db.db.session.commit()
    assert browser.get("/leads").status_code == 401


def test_the_session_s_cookie_is_for_this_site_s_pages_only(client: FlaskClient, config: Config) -> None:
    (cookie,) = [
        item for item in client.get("/login/").headers.getlist("Set-Cookie") if item.startswith("embudo=")
    ]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    behind_https = replace(config, public_url="https://embudo.example").to_flask()
    assert behind_https["SESSION_COOKIE_SECURE"] is True


def test_pages_cannot_be_framed_and_answers_are_not_guessed_at(
    admin: FlaskClient, api: Callable[..., Any]
) -> None:
    page = admin.get("/")
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    for answer in (page, api().get("/leads"), admin.get("/openapi.json")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_another_site_s_page_may_not_read_what_the_interface_says(api: Callable[..., Any]) -> None:
    answer = api().open("/leads", method="OPTIONS", headers={"Origin": "https://evil.example"})
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "body",
    [
        {f"unknown_{number}": 1 for number in range(9_000)},
        {"name": "Ann", "custom": {f"key_{number}": [] for number in range(9_000)}},
        {"name": "Ann", "tags": ["\0"] * 9_000},
    ],
    ids=["fields", "custom values", "NUL characters"],
)
def test_a_body_full_of_mistakes_is_not_answered_with_a_longer_one(
    api: Callable[..., Any], body: dict[str, Any]
) -> None:
    answer = api().post("/leads", json=body)
    assert answer.status_code == 422
    assert len(answer.get_json()["errors"]) <= MOST_SHOWN
    assert len(answer.data) < 100_000


# --- what is stored and shown -------------------------------------------------------------------------------------


@pytest.fixture
def poisoned(
    app: Flask, api: Callable[..., Any], known_ids: dict[str, str], drain: Callable[[], None]
) -> list[str]:
    """Things whose every text is an attack; the pages that show them."""
    key = api()
    pages = []
    for text in (TAG, BREAKOUT):
        lead = key.post(
            "/leads",
            json={
                "name": text, "company": text, "notes": text, "tags": [text[:50]], "custom": {text[:50]: text},
                "email": f"ana{len(text)}@example.com",
            },
        )  # fmt: skip
        assert lead.status_code == 201, lead.text
        key.post(f"/leads/{lead.json['id']}/events", json={"text": text})
        document = {
            "schema": 1, "language": "es", "start": "a", "triggers": {"keywords": [text], "match": "word"},
            "nodes": [{"id": "a", "type": "send_text", "text": text, "exits": {"next": None}}],
        }  # fmt: skip
        flow = key.post("/flows", json={"name": text, "document": document}).json["id"]
        mail = key.post("/email", json={"to": "ana@example.com", "subject": text, "html": f"<p>{text}</p>"})
        chat = key.post("/simulator/chats", json={"name": text}).json["id"]
        key.post(f"/simulator/chats/{chat}/messages", json={"text": text})
        hook = key.post(
            "/webhooks", json={"url": "http://127.0.0.1:9/", "events": ["*"], "description": text}
        )
        pages += [
            f"/admin/leads/show/{lead.json['id']}", f"/admin/leads/edit/{lead.json['id']}",
            f"/admin/flows/show/{flow}", f"/admin/outbox/show/{mail.json['id']}",
            f"/admin/webhooks/show/{hook.json['id']}",
        ]  # fmt: skip
    drain()
    pages += [f"/admin/conversations/show/{row['id']}" for row in key.get("/conversations").json["items"]]
    return pages


def test_no_page_runs_what_somebody_wrote(app: Flask, admin: FlaskClient, poisoned: list[str]) -> None:
    shown = 0
    for path in [*poisoned, *_screens(admin), "/docs/"]:
        answer = admin.get(path, follow_redirects=True)  # an old conversation leads to the present one
        assert answer.status_code == 200, path
        shown += "&lt;img src=x" in answer.text or "\\u003cimg" in answer.text
        assert [bad for bad in NEVER if bad in answer.text] == [], path
    assert shown >= 8, "the texts are on the pages, made harmless"


def _screens(admin: FlaskClient) -> Iterator[str]:
    sidebar = admin.get("/").text.partition('id="sidebar"')[2].partition("</nav>")[0]
    yield from re.findall(r'<li><a href="([^"]+)"', sidebar)


def test_a_mail_is_shown_only_where_it_can_do_nothing(
    app: Flask, admin: FlaskClient, api: Callable[..., Any]
) -> None:
    key = api()
    mail = key.post(
        "/email", json={"to": "a@example.com", "subject": "x", "html": "<p>hi</p><script>alert(1)</script>"}
    )
    page = admin.get(f"/admin/outbox/show/{mail.json['id']}").text
    (frame,) = re.findall(r"<iframe[^>]+>", page)
    assert "sandbox" in frame
    assert "allow-scripts" not in frame
    answer = admin.get(re.search(r'src="([^"]+)"', frame)[1])  # type: ignore[index]
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox;")
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_an_export_runs_nothing_in_a_spreadsheet(admin: FlaskClient, api: Callable[..., Any]) -> None:
    key = api()
    attacks = ["=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0", " =1+1"]
    for text in attacks:
        key.post("/leads", json={"name": f"{text}x", "notes": text, "company": text})
    rows = list(
        csv.reader(io.StringIO(admin.get("/admin/leads/export.csv").get_data(as_text=True).lstrip("\ufeff")))
    )
    assert len(rows) == len(attacks) + 1
    for row in rows[1:]:
        assert [cell for cell in row if re.match(r"\s*[=+\-@]", cell)] == []


# --- the server -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/static/admin/../../config.py", "/static/admin/..%2f..%2fconfig.py", "/static/admin/%2e%2e/%2e%2e/security.py",
     "/static/admin/build/..%5c..%5csecurity.py", "/static/admin//etc/passwd", "/static/appbuilder/../../../etc/passwd",
     "/static/admin/..;/security.py", "/static/admin/%00", "/..%2f..%2fetc/passwd"],
)  # fmt: skip
def test_static_files_are_all_that_static_paths_reach(client: FlaskClient, path: str) -> None:
    answer = client.get(path, follow_redirects=True)  # doubled slashes are made one
    assert answer.status_code in (400, 404), answer.status_code
    assert "import" not in answer.text


def test_another_host_s_name_leads_nowhere(client: FlaskClient) -> None:
    for path in ("/login/", "/openapi.json", "/docs/"):
        answer = client.get(path, headers={"Host": "evil.example"})
        assert answer.status_code == 200
        assert "evil.example" not in answer.text, path
    _is_ours(client.get("/", headers={"Host": "evil.example"}).location)


def test_an_error_shows_the_address_as_text(client: FlaskClient, admin: FlaskClient) -> None:
    for browser in (client, admin):
        answer = browser.get(f"/nowhere/{TAG}", headers={"Accept": "text/html"})
        assert answer.status_code == 404
        assert TAG not in answer.text
        assert "werkzeug" not in answer.text.lower()


def test_a_wrong_name_and_a_wrong_password_look_the_same(app: Flask, make_user: Callable[..., Any]) -> None:
    answers = []
    for username in ("admin", "nobody at all"):
        client = app.test_client()
        token = token_of(client.get("/login/").text)
        data = {"username": username, "password": "wrong", "csrf_token": token}
        answers.append(client.post("/login/", data=data, follow_redirects=True))
    texts = [re.sub(r'(nonce|value|content)="[^"]*"', "", answer.text) for answer in answers]
    assert texts[0] == texts[1]


def test_passwords_and_keys_are_in_no_answer(admin: FlaskClient, app: Flask, api: Callable[..., Any]) -> None:
    key = api()
    stored = db.db.session.scalars(select(User.password)).all()
    for path in ("/users/list/", "/users/show/1", "/users/edit/1", "/admin/api-keys/", "/profile/"):
        text = admin.get(path).text
        assert key.key not in text
        assert [item for item in stored if item in text] == [], path
