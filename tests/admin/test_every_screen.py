"""What must hold for every screen of every service, also those that are written later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, url_for
from flask.testing import FlaskClient

from app.admin.accounts import PRODUCT_ROLES
from app.admin.views import SafeView, Screen

NONSENSE = (
    "'",
    "%00",
    "-1",
    "99999999999999999999999",
    "NaN",
    "2026-99-99",
    "0001-01-01",
    "9999-12-31",
    "%F0%9F%92%A5",
)


def screens(app: Flask) -> Iterator[Any]:
    """Every registered list screen."""
    yield from (view for view in app.appbuilder.baseviews if isinstance(view, SafeView))  # type: ignore[attr-defined]


def path_of(app: Flask, view: Any, method: str, **values: Any) -> str:
    """The address of a screen's page."""
    with app.test_request_context():
        return url_for(f"{view.endpoint}.{method}", **values)


def test_no_list_can_be_tampered_into_an_error(app: Flask, admin: FlaskClient) -> None:
    wrong = []
    for view in screens(app):
        name, path = type(view).__name__, path_of(app, view, "list")
        queries = [f"q={text}" for text in NONSENSE]
        for column in view.search_columns:
            queries += [f"f.{column}{end}={text}" for text in NONSENSE for end in ("", ".from", ".to")]
        queries += [
            f"_oc_{name}={column}&_od_{name}=desc"
            for column in {*view.list_columns, *view.show_columns, *view.datamodel.get_columns_list()}
        ]
        queries += [f"page_{name}={text}&psize_{name}={text}" for text in NONSENSE]
        wrong += [
            f"{path}?{query}: {status}"
            for query in queries
            if (status := admin.get(f"{path}?{query}").status_code) != 200
        ]
    assert wrong == []


@pytest.mark.parametrize(
    "pk", ["abc", "-1", "99999999999999999999", "%00", "018f0000-0000-7000-8000-000000000000"]
)
def test_an_id_of_nothing_is_not_found_on_every_screen(app: Flask, admin: FlaskClient, pk: str) -> None:
    wrong = []
    for view in screens(app):
        for method in ("show", "edit"):
            if f"{view.endpoint}.{method}" in app.view_functions:
                path = path_of(app, view, method, pk="PK").replace("PK", pk)
                if (status := admin.get(path).status_code) != 404:
                    wrong.append(f"{path}: {status}")
    assert wrong == []


def test_every_screen_says_which_roles_may_use_it(app: Flask) -> None:
    for view in app.appbuilder.baseviews:  # type: ignore[attr-defined]
        if isinstance(view, Screen):
            assert set(view.roles) <= {"read", "write"}, type(view).__name__
            for roles in view.roles.values():
                assert set(roles) <= set(PRODUCT_ROLES), type(view).__name__


@pytest.mark.parametrize("role", ["manager", "seller", "viewer"])
def test_every_menu_entry_a_role_sees_opens(
    app: Flask, logged_in: Callable[[str], FlaskClient], role: str
) -> None:
    browser = logged_in(role)
    sidebar = browser.get("/").text.partition('id="sidebar"')[2].partition("</nav>")[0]
    paths = {part.partition('"')[0] for part in sidebar.split('<li><a href="')[1:]}
    assert paths
    answers = {path: browser.get(path, follow_redirects=True).status_code for path in paths}
    assert answers == dict.fromkeys(paths, 200)


PUBLIC = ("/docs/",)
"""Pages for everybody."""


def test_every_admin_address_asks_who_comes(app: Flask, client: FlaskClient) -> None:
    open_doors = []
    ours = {view.endpoint for view in app.appbuilder.baseviews if isinstance(view, Screen)}  # type: ignore[attr-defined]
    for rule in app.url_map.iter_rules():
        if rule.endpoint.partition(".")[0] not in ours or "GET" not in (rule.methods or ()):
            continue
        if getattr(app.view_functions[rule.endpoint], "embudo_auth", "").startswith("public"):
            assert rule.rule in PUBLIC
            continue
        with app.test_request_context():
            path = url_for(rule.endpoint, **dict.fromkeys(rule.arguments, 1))
        answer = client.get(path, headers={"Accept": "text/html"})
        if answer.status_code != 302 or "/login/" not in answer.location:
            open_doors.append(f"{path}: {answer.status_code}")
    assert open_doors == []
