"""Who gets in, what they see, and what the headers promise."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_appbuilder.security.sqla.models import PermissionView, Role, User
from sqlalchemy import func, select

from app import create_app
from app.admin import setup_security
from app.kit.db import db, dispose_engines
from app.kit.redis_client import connect
from config import Config
from tests.admin.pages import PASSWORD, look_again, send, token_of, words

ADMIN_ONLY = ["/users/list/", "/users/add", "/roles/list/", "/admin/api-keys/", "/admin/api-keys/new"]


@pytest.mark.parametrize("path", ["/", "/home/live", "/profile/", "/password/", *ADMIN_ONLY])
def test_a_stranger_is_led_to_the_login(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 302 and "/login/" in answer.location


@pytest.mark.parametrize("role", ["manager", "seller", "viewer"])
def test_only_administrators_reach_users_roles_and_keys(
    logged_in: Callable[[str], FlaskClient], role: str
) -> None:
    browser = logged_in(role)
    for path in ADMIN_ONLY:
        assert browser.get(path).status_code == 403, path
    sidebar = browser.get("/").text.partition('id="sidebar"')[2].partition("</nav>")[0]
    assert 'href="/"' in sidebar
    assert "/users/" not in sidebar and "/roles/" not in sidebar and "/admin/api-keys" not in sidebar


def test_an_administrator_sees_every_menu_entry(app: Flask, admin: FlaskClient) -> None:
    sidebar = admin.get("/").text.partition('id="sidebar"')[2].partition("</nav>")[0]
    shown = [entry for entry in app.extensions["embudo_menu"] if entry.shown_if is None or entry.shown_if()]
    assert sidebar.count("<li>") == len(shown)


def test_what_a_role_may_read_but_not_write_is_shown_without_its_buttons(
    app: Flask, logged_in: Callable[[str], FlaskClient]
) -> None:
    browser = logged_in("viewer")
    viewer = db.session.scalars(select(Role).where(Role.name == "viewer")).one()
    readable = [
        row
        for row in db.session.scalars(select(PermissionView))
        if row.permission.name == "can_read" and row.view_menu.name == "Users"
    ]
    viewer.permissions = [*viewer.permissions, *readable]
    db.session.commit()
    page = browser.get("/users/list/")
    assert page.status_code == 200
    assert "/users/add" not in page.text and "/users/delete/" not in page.text
    assert browser.get("/users/add").status_code == 403
    assert send(browser, "/users/delete/1").status_code == 403
    assert send(browser, "/users/action/setpassword/1").status_code == 403


def test_set_up_again_changes_nothing_and_puts_the_products_roles_back(app: Flask) -> None:
    def state() -> dict[str, set[tuple[str, str]]]:
        look_again()
        return {
            role.name: {(item.permission.name, item.view_menu.name) for item in role.permissions}
            for role in db.session.scalars(select(Role))
        }

    before, users = state(), db.session.scalar(select(func.count()).select_from(User))
    assert before["Admin"] >= before["manager"] >= {("can_read", "Home"), ("can_write", "Profile")}
    db.session.scalars(select(Role).where(Role.name == "manager")).one().permissions = []
    db.session.commit()
    assert setup_security(app) is None
    assert state() == before
    assert db.session.scalar(select(func.count()).select_from(User)) == users


def test_two_apps_live_in_one_process(app: Flask, config: Config) -> None:
    other = create_app(config)
    try:
        assert other.test_client().get("/login/").status_code == 200
        assert app.test_client().get("/login/").status_code == 200
    finally:
        dispose_engines(other)
    assert len(other.extensions["embudo_menu"]) == len(app.extensions["embudo_menu"])


@pytest.mark.parametrize("path", ["/users/add", "/admin/api-keys/new", "/password/", "/users/delete/1"])
def test_a_form_without_its_token_is_refused(admin: FlaskClient, path: str) -> None:
    assert admin.post(path, data={"name": "x"}).status_code == 400


def test_a_changed_token_is_refused(admin: FlaskClient) -> None:
    assert admin.post("/users/delete/1", data={"csrf_token": token_of(admin)[:-3] + "abc"}).status_code == 400


def test_pages_carry_a_strict_policy_with_a_new_nonce_each_time(admin: FlaskClient) -> None:
    nonces = []
    for _ in range(2):
        answer = admin.get("/")
        policy = answer.headers["Content-Security-Policy"]
        for part in ("default-src 'self'", "object-src 'none'", "frame-ancestors 'none'", "base-uri 'self'"):
            assert part in policy
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
        nonce = re.search(r"'nonce-([^']+)'", policy)
        assert nonce and f'nonce="{nonce.group(1)}"' in answer.text
        nonces.append(nonce.group(1))
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Strict-Transport-Security" not in answer.headers, "not over plain http"
    assert nonces[0] != nonces[1]


def test_no_page_asks_another_host_or_has_a_script_without_nonce(admin: FlaskClient) -> None:
    for path in (
        "/",
        "/users/list/",
        "/users/add",
        "/roles/list/",
        "/admin/api-keys/new",
        "/login/",
        "/nothing",
    ):
        html = admin.get(path, headers={"Accept": "text/html"}).text
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', html), path
        assert all("nonce=" in tag for tag in re.findall(r"<script[^>]*>", html)), path
        assert not re.findall(r"<[^>]+\son\w+=", html), path


def test_the_session_cookie_is_out_of_reach_for_scripts(client: FlaskClient) -> None:
    cookie = client.get("/login/").headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie


def test_the_eleventh_attempt_to_log_in_has_to_wait(client: FlaskClient) -> None:
    token = token_of(client, "/login/")
    data = {"username": "admin", "password": "wrong", "csrf_token": token}
    answers = [client.post("/login/", data=data, headers={"Accept": "text/html"}) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [302] * 10 + [429]
    right = client.post("/login/", data=data | {"password": PASSWORD}, headers={"Accept": "text/html"})
    assert right.status_code == 429, "also the right password"


def test_attempts_are_counted_in_redis_for_all_processes(client: FlaskClient, redis_url: str) -> None:
    client.post("/login/", data={"username": "x", "password": "y", "csrf_token": token_of(client, "/login/")})
    assert [key for key in connect(redis_url).keys("*") if b"LIMIT" in key.upper()]


def test_a_wrong_password_says_so_without_saying_which_was_wrong(client: FlaskClient) -> None:
    answers = []
    for name in ("admin", "nobody"):
        data = {"username": name, "password": "wrong", "csrf_token": token_of(client, "/login/")}
        answers.append(words(client.post("/login/", data=data, follow_redirects=True).text))
    assert answers[0] == answers[1]


def test_login_leads_only_to_pages_of_ours(client: FlaskClient) -> None:
    data = {"username": "admin", "password": PASSWORD, "csrf_token": token_of(client, "/login/")}
    answer = client.post("/login/?next=https://evil.example/", data=data)
    assert answer.status_code == 302 and "evil" not in answer.location


def test_who_is_switched_off_is_out_at_once(app: Flask, logged_in: Callable[[str], FlaskClient]) -> None:
    browser = logged_in("seller")
    assert browser.get("/").status_code == 200
    db.session.scalars(select(User).where(User.username == "seller")).one().active = False
    db.session.commit()
    assert browser.get("/").status_code == 302


def test_changing_ones_password_needs_the_present_one(
    app: Flask, client: FlaskClient, logged_in: Callable[[str], FlaskClient]
) -> None:
    browser = logged_in("seller")
    new = "another long sentence"
    wrong = send(browser, "/password/", {"current": "wrong", "password": new, "conf_password": new})
    assert wrong.status_code == 422 and 'id="current-errors"' in wrong.text
    right = send(browser, "/password/", {"current": PASSWORD, "password": new, "conf_password": new})
    assert right.status_code == 302
    data = {"username": "seller", "password": new, "csrf_token": token_of(client, "/login/")}
    assert client.post("/login/", data=data).status_code == 302
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    ("language", "chosen", "word"),
    [("es-MX,es;q=0.9", None, "es"), ("en-US,en;q=0.9", None, "en"), ("fr", None, "es"), ("es", "en", "en")],
)
def test_pages_speak_the_readers_language(
    client: FlaskClient, language: str, chosen: str | None, word: str
) -> None:
    headers = {"Accept-Language": language}
    if chosen:
        came_from = {"Referer": "http://localhost/login/?x=1"}
        assert client.get(f"/lang/{chosen}", headers=headers | came_from).location == "/login/?x=1"
    assert f'<html lang="{word}">' in client.get("/login/", headers=headers).text


def test_an_unknown_language_is_not_found_and_a_foreign_page_is_no_way_back(client: FlaskClient) -> None:
    assert client.get("/lang/xx").status_code == 404
    assert client.get("/lang/es", headers={"Referer": "https://evil.example/x"}).location == "/"


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/users/show/0", 404)])
def test_errors_are_pages_for_people(admin: FlaskClient, path: str, status: int) -> None:
    answer = admin.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == status
    assert 'class="empty error-page"' in answer.text and 'id="sidebar"' in answer.text


def test_a_bug_shows_a_page_with_the_request_id_and_no_trace(
    app: Flask, admin: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setitem(app.view_functions, "HomeView.index", broken)
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    answer = admin.get("/", headers={"Accept": "text/html"})
    assert answer.status_code == 500
    assert answer.headers["X-Request-Id"] in answer.text and "secret detail" not in answer.text


def test_the_address_without_list_leads_to_the_list(admin: FlaskClient) -> None:
    answer = admin.get("/admin/leads/")
    assert (answer.status_code, answer.location) == (302, "/admin/leads/list/")
