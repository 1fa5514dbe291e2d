"""Lists and forms of the base view, on the screens of users and roles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_appbuilder.security.sqla.models import Role, User
from sqlalchemy import event, func, select

from app.kit.db import PLATFORM, db, engine_of
from tests.admin.pages import PASSWORD, look_again, send, words

TAMPERED = [
    "page_UserView=abc",
    "page_UserView=-1",
    "page_UserView=99999999",
    "page_UserView=99999999999999999999999999",
    "psize_UserView=abc",
    "psize_UserView=5000",
    "_oc_UserView=password&_od_UserView=asc",
    "_oc_UserView=roles&_od_UserView=asc",
    "_oc_UserView=get_full_name&_od_UserView=desc",
    "_oc_UserView=username&_od_UserView=sideways",
    "_flt_0_username=x",
    "_flt_9_active=1",
    "_flt_3_roles=x",
    "f.active=maybe",
    "f.nothing=1",
    "f.password=scrypt",
    "q=%00",
    "q=%25%5F%27%22%3B--",
    "q=" + "x" * 4000,
    "_l_=xx",
]


@pytest.mark.parametrize("query", TAMPERED)
def test_a_tampered_list_address_still_shows_the_list(admin: FlaskClient, query: str) -> None:
    answer = admin.get(f"/users/list/?{query}")
    assert answer.status_code == 200
    assert "admin@localhost" in answer.text or "q=" in query


@pytest.mark.parametrize("pk", ["abc", "-1", "0", "99999999999999999999", "1%27", "%00", "1.5", "null"])
@pytest.mark.parametrize("page", ["show", "edit"])
def test_an_id_that_cannot_be_one_is_not_found(admin: FlaskClient, page: str, pk: str) -> None:
    assert admin.get(f"/users/{page}/{pk}").status_code == 404


def test_a_page_size_beyond_the_offered_ones_falls_back_to_the_lists_own(
    admin: FlaskClient, app: Flask
) -> None:
    role = db.session.scalars(select(Role).where(Role.name == "viewer")).one()
    for number in range(40):
        db.session.add(
            User(
                username=f"u{number:02}",
                first_name="U",
                last_name="",
                email=f"u{number}@example.com",
                roles=[role],
            )
        )
    db.session.commit()
    assert admin.get("/users/list/?psize_UserView=5000").text.count('class="row-link"') == 25
    assert admin.get("/users/list/?psize_UserView=100").text.count('class="row-link"') == 41
    assert admin.get("/users/list/?page_UserView=1").text.count('class="row-link"') == 16
    assert admin.get("/users/list/?page_UserView=7").text.count('class="row-link"') == 16, (
        "the last page instead"
    )


def test_a_search_narrows_the_list_and_says_so_when_nothing_fits(
    admin: FlaskClient, make_user: Callable[..., Any]
) -> None:
    make_user("seller", "berta")
    found = admin.get("/users/list/?q=BERT").text
    assert "berta@example.com" in found and "admin@localhost" not in found
    nothing = admin.get("/users/list/?q=%25").text
    assert "berta@example.com" not in nothing, "a percent sign means itself"
    assert 'class="empty"' in nothing


def test_a_filter_shows_as_a_chip_that_takes_it_away(admin: FlaskClient) -> None:
    page = admin.get("/users/list/?f.active=0").text
    assert "admin@localhost" not in page
    assert 'class="chip chip-remove" href="/users/list/"' in page


def test_a_list_costs_the_same_queries_however_long_it_is(app: Flask, admin: FlaskClient) -> None:
    role = db.session.scalars(select(Role).where(Role.name == "viewer")).one()
    for number in range(20):
        db.session.add(
            User(
                username=f"u{number:02}",
                first_name="U",
                last_name="",
                email=f"u{number}@example.com",
                roles=[role],
            )
        )
    db.session.commit()
    asked: list[str] = []
    engine = engine_of(PLATFORM)

    def note(*args: Any) -> None:
        asked.append(args[2])

    def queries(path: str) -> int:
        asked.clear()
        assert admin.get(path).status_code == 200
        return len(asked)

    event.listen(engine, "before_cursor_execute", note)
    try:
        few, many = queries("/roles/list/?q=nobody"), queries("/users/list/")
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert many <= few + 3, asked


def test_a_new_user_is_saved_and_can_log_in(app: Flask, admin: FlaskClient) -> None:
    seller = db.session.scalar(select(Role.id).where(Role.name == "seller"))
    form = {
        "username": "carla",
        "email": "carla@example.com",
        "first_name": "Carla",
        "last_name": "",
        "password": PASSWORD,
        "conf_password": PASSWORD,
        "roles": str(seller),
        "active": "y",
    }
    answer = send(admin, "/users/add", form)
    assert answer.status_code == 302 and "/users/show/" in answer.location
    look_again()
    row = db.session.scalars(select(User).where(User.username == "carla")).one()
    assert [role.name for role in row.roles] == ["seller"] and PASSWORD not in row.password


def test_a_field_that_is_not_sent_is_an_empty_one(app: Flask, admin: FlaskClient) -> None:
    seller = db.session.scalar(select(Role.id).where(Role.name == "seller"))
    form = {
        "username": "carla", "email": "carla@example.com", "first_name": "Carla", "roles": str(seller),
    }  # fmt: skip
    password = {"password": PASSWORD, "conf_password": PASSWORD}
    assert send(admin, "/users/add", {**form, **password}).status_code == 302
    look_again()
    row = db.session.scalars(select(User).where(User.username == "carla")).one()
    assert row.last_name == ""
    row.last_name = "Ruiz"
    db.session.commit()
    assert send(admin, f"/users/edit/{row.id}", form).status_code == 302
    look_again()
    assert db.session.get(User, row.id).last_name == ""


def test_every_problem_of_a_form_stands_beside_its_field_and_nothing_is_stored(
    app: Flask, admin: FlaskClient
) -> None:
    seller = db.session.scalar(select(Role.id).where(Role.name == "seller"))
    form = {
        "username": "ADMIN",
        "email": "admin@localhost.example",
        "first_name": "A",
        "password": "short",
        "conf_password": "short",
        "roles": str(seller),
    }
    answer = send(admin, "/users/add", form)
    assert answer.status_code == 422
    assert 'id="username-errors"' in answer.text and 'id="password-errors"' in answer.text
    assert 'value="ADMIN"' in answer.text, "what was typed is kept"
    look_again()
    assert db.session.scalar(select(func.count()).select_from(User)) == 1


def test_a_taken_name_is_told_in_the_language_of_each_reader(app: Flask, admin: FlaskClient) -> None:
    for path, field, name in (("/users/add", "username", "admin"), ("/roles/add", "name", "seller")):
        for language, words_ in (("en", "Already exists."), ("es", "Ya existe."), ("en", "Already exists.")):
            answer = send(admin, path, {field: name}, headers={"Accept-Language": language})
            assert answer.status_code == 422
            assert words_ in answer.text.partition(f'id="{field}-errors"')[2].partition("</")[0], (
                path,
                language,
            )


ALIKE = [
    "SELLER",
    "seller ",
    " seller",
    "ｓｅｌｌｅｒ",
    "seller\u00a0",
    "sel\u200bler",
    "seller\ufe0f",
    "\u3164seller",
]


@pytest.mark.parametrize("name", ALIKE)
def test_nobody_gets_a_name_that_looks_like_another_s(
    admin: FlaskClient, make_user: Callable[..., Any], name: str
) -> None:
    make_user("seller")
    key = make_user("viewer").id
    role = db.session.scalar(select(Role.id).where(Role.name == "viewer"))
    form = {"username": name, "email": "x@example.com", "first_name": "X", "roles": str(role), "active": "y"}
    before = set(db.session.scalars(select(User.username)))
    added = send(admin, "/users/add", {**form, "password": PASSWORD, "conf_password": PASSWORD})
    changed = send(admin, f"/users/edit/{key}", form)
    for answer in (added, changed):
        assert answer.status_code == 422 and 'id="username-errors"' in answer.text
    look_again()
    assert set(db.session.scalars(select(User.username))) == before


@pytest.mark.parametrize("name", ALIKE)
def test_no_role_gets_a_name_that_looks_like_another_s(admin: FlaskClient, name: str) -> None:
    before = set(db.session.scalars(select(Role.name)))
    answer = send(admin, "/roles/add", {"name": name})
    assert answer.status_code == 422 and 'id="name-errors"' in answer.text
    assert send(admin, "/roles/add", {"name": "Own"}).status_code == 302
    look_again()
    own = db.session.scalar(select(Role.id).where(Role.name == "Own"))
    assert send(admin, f"/roles/edit/{own}", {"name": name}).status_code == 422
    assert send(admin, f"/roles/edit/{own}", {"name": "OWN"}).status_code == 302, (
        "its own name otherwise written"
    )
    look_again()
    assert set(db.session.scalars(select(Role.name))) == before | {"OWN"}


def test_a_name_is_kept_in_one_way_of_writing_it(admin: FlaskClient) -> None:
    for name, kept in ((" Zoe\u0308  Ruiz ", "Zo\u00eb Ruiz"), ("ÁNGEL", "ÁNGEL")):
        assert send(admin, "/roles/add", {"name": name}).status_code == 302
        look_again()
        assert db.session.scalar(select(Role.id).where(Role.name == kept)) is not None
    assert send(admin, "/roles/add", {"name": "ángel"}).status_code == 422, (
        "also where the database knows ASCII only"
    )
    assert send(admin, "/roles/add", {"name": "\ufdfa" * 10}).status_code == 422, "longer than it was typed"


def test_a_checkbox_can_be_unticked(app: Flask, admin: FlaskClient, make_user: Callable[..., Any]) -> None:
    user = make_user("seller", "berta")
    key, role = user.id, user.roles[0].id
    form = {
        "username": "berta",
        "email": "berta@example.com",
        "first_name": "B",
        "last_name": "",
        "roles": str(role),
    }
    assert send(admin, f"/users/edit/{key}", form).status_code == 302
    look_again()
    assert db.session.get(User, key).active is False


def test_the_last_administrator_stays_one(app: Flask, admin: FlaskClient) -> None:
    key = db.session.scalar(select(User.id))
    seller = db.session.scalar(select(Role.id).where(Role.name == "seller"))
    form = {
        "username": "admin",
        "email": "a@example.com",
        "first_name": "A",
        "roles": str(seller),
        "active": "y",
    }
    assert send(admin, f"/users/edit/{key}", form).status_code == 422
    assert send(admin, f"/users/delete/{key}").status_code == 302
    look_again()
    assert [role.name for role in db.session.get(User, key).roles] == ["Admin"]


def test_deleting_takes_a_post_and_removes_the_row(
    app: Flask, admin: FlaskClient, make_user: Callable[..., Any]
) -> None:
    key = make_user("seller", "berta").id
    assert admin.get(f"/users/delete/{key}").status_code == 405
    assert db.session.get(User, key) is not None
    assert send(admin, f"/users/delete/{key}").location.endswith("/users/list/")
    look_again()
    assert db.session.get(User, key) is None


def test_a_role_of_the_product_cannot_be_changed_but_copied(app: Flask, admin: FlaskClient) -> None:
    key = db.session.scalar(select(Role.id).where(Role.name == "manager"))
    assert admin.get(f"/roles/edit/{key}").status_code == 403
    assert send(admin, f"/roles/delete/{key}").status_code == 403
    answer = send(admin, f"/roles/action/copyrole/{key}")
    assert answer.status_code == 302 and "/roles/edit/" in answer.location
    look_again()
    names = set(db.session.scalars(select(Role.name)))
    assert len(names) == 5 and any(name.startswith("manager (") for name in names)


def test_an_unknown_action_is_not_found(admin: FlaskClient) -> None:
    assert send(admin, "/roles/action/nothing/1").status_code == 404
    assert send(admin, "/roles/action_post", {"rowid": "1"}).status_code == 404


LONG_NUMBER = "9" * 5000
"""More digits than Python turns into a number (4300)."""


@pytest.mark.parametrize("subject", ["users", "roles"])
def test_an_action_on_an_id_that_cannot_be_one_is_one_on_no_row(admin: FlaskClient, subject: str) -> None:
    for action, key in (("setpassword", LONG_NUMBER), ("copyrole", LONG_NUMBER), ("nothing", LONG_NUMBER)):
        one = send(admin, f"/{subject}/action_post", {"rowid": key, "action": action})
        other = send(admin, f"/{subject}/action_post", {"rowid": "4711", "action": action})
        assert (one.status_code, one.location) == (other.status_code, other.location)
        assert one.status_code in {302, 404}
    assert send(admin, f"/{subject}/action/setpassword/{LONG_NUMBER}").status_code == 404


def test_who_may_not_act_learns_nothing_of_the_rows(logged_in: Callable[[str], FlaskClient]) -> None:
    browser = logged_in("seller")
    for key in ("1", "4711", LONG_NUMBER):
        form = {"rowid": key, "action": "setpassword"}
        assert send(browser, "/users/action_post", form).status_code == 403
        assert send(browser, f"/users/action/setpassword/{key}").status_code == 403


def test_a_number_in_an_address_is_one_that_could_be_there(admin: FlaskClient) -> None:
    for number in ("9" * 30, LONG_NUMBER):
        assert admin.get(f"/users/password/{number}").status_code == 404


def test_an_empty_list_says_what_to_do(admin: FlaskClient) -> None:
    page = admin.get("/admin/api-keys/").text
    assert 'class="empty"' in page and "/admin/api-keys/new" in page


def test_text_of_others_is_escaped_everywhere(
    admin: FlaskClient, app: Flask, make_user: Callable[..., Any]
) -> None:
    user = make_user("seller", "berta")
    user.first_name = "<b onclick=x>'\""
    db.session.commit()
    for path in ("/users/list/", f"/users/show/{user.id}", f"/users/edit/{user.id}"):
        assert "<b onclick" not in admin.get(path).text
    assert "<b onclick=x>" in words(admin.get(f"/users/show/{user.id}").text)
