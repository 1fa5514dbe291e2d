"""Who wants no more marketing gets none: by one click (RFC 8058), by the page, or by our own hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.email import commands, queries
from app.email.models import Message, Template
from app.kit import db
from tests.conftest import ApiClient
from tests.email.test_delivery import change, fresh
from tests.email.test_feedback import suppressed, told
from tests.fakes.smtp_server import SmtpScript

Queue = Callable[..., Message]
Drain = Callable[[], None]
Api = Callable[..., ApiClient]

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def https(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.config, "PUBLIC_URL", "https://crm.example.com")


def link_of(message: Message) -> str:
    return f"/email/unsubscribe/{commands.token_of(message.id)}"


# headers


def test_marketing_carries_both_headers_unbroken_and_other_mail_none(
    https: None, queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    offer = queue(category="marketing", to="a@example.com")
    receipt = queue(to="b@example.com")
    drain()

    mails = {to: mail for _, to, mail in mail_server.received}
    assert mails["a@example.com"]["List-Unsubscribe"] == f"<https://crm.example.com{link_of(offer)}>"
    assert mails["a@example.com"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert f"<https://crm.example.com{link_of(offer)}>\r\n".encode() in b"".join(mail_server.raw)
    assert fresh(receipt).status == "sent"
    assert mails["b@example.com"]["List-Unsubscribe"] is None


def test_without_https_there_is_no_one_click(queue: Queue, mail_server: SmtpScript, drain: Drain) -> None:
    queue(category="marketing")
    drain()

    assert mail_server.received[0][2]["List-Unsubscribe-Post"] is None


def test_the_category_comes_from_the_template(
    https: None, make_template: Callable[..., Template], queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    make_template(category="marketing")
    message = queue(template="greeting", variables={"name": "Ann"}, subject=None, text=None)
    drain()

    assert fresh(message).category == "marketing"
    assert mail_server.received[0][2]["List-Unsubscribe"]


# the page and the click


@pytest.mark.parametrize("method", ["get", "head", "options"])
def test_looking_at_the_link_changes_nothing(client: FlaskClient, queue: Queue, method: str) -> None:
    message = queue(category="marketing")

    answer = getattr(client, method)(link_of(message))

    assert answer.status_code == 200
    assert suppressed() == []


def test_one_click_ends_marketing_without_a_redirect_and_a_repeat_is_no_error(
    client: FlaskClient, queue: Queue
) -> None:
    message = queue(
        to="Ann@Example.com", category="marketing", lead_id="0198f000-0000-7000-8000-00000000aaaa"
    )

    answers = [client.post(link_of(message), data=ONE_CLICK) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert suppressed() == [("ann@example.com", "marketing", "unsubscribed")]
    assert told("email.unsubscribed") == [
        {"message_id": message.id, "lead_id": message.lead_id, "template": None}
    ]


def test_marketing_is_held_back_then_and_other_mail_still_goes(
    client: FlaskClient, queue: Queue, mail_server: SmtpScript, drain: Drain
) -> None:
    client.post(link_of(queue(category="marketing")), data=ONE_CLICK)
    drain()
    offer, receipt = queue(category="marketing"), queue()
    drain()

    assert (fresh(offer).status, fresh(offer).error_code) == ("suppressed", "suppressed_unsubscribed")
    assert fresh(receipt).status == "sent"
    assert told("email.failed")[-1]["reason"] == "suppressed_unsubscribed"


def test_a_click_can_be_undone_on_the_page_but_a_complaint_cannot(client: FlaskClient, queue: Queue) -> None:
    message = queue(category="marketing")
    page = client.post(link_of(message), data=ONE_CLICK)
    assert 'value="undo"' in page.text

    client.post(link_of(message), data={"action": "undo"})
    assert suppressed() == []

    with db.transaction():
        commands.suppress("ann@example.com", "marketing", "manual")
    client.post(link_of(message), data={"action": "undo"})
    assert suppressed() == [("ann@example.com", "marketing", "manual")]


@pytest.mark.parametrize(("language", "word"), [("en", "advertising"), ("es", "es")])
def test_the_page_speaks_the_mails_language_else_the_browsers(
    client: FlaskClient, queue: Queue, language: str, word: str
) -> None:
    message = queue()
    change(message, template_language=language)
    other = {"en": "es", "es": "en"}[language]

    by_mail = client.get(link_of(message), headers={"Accept-Language": other})
    by_choice = client.get(f"{link_of(message)}?lang={other}")
    change(message, template_language="fr")
    by_browser = client.get(link_of(message), headers={"Accept-Language": language})

    assert [f'<html lang="{code}">' in page.text for code, page in (
        (language, by_mail), (other, by_choice), (language, by_browser),
    )] == [True] * 3  # fmt: skip
    assert word in by_mail.text


def test_the_page_names_nobody_and_lets_nothing_leak(client: FlaskClient, queue: Queue) -> None:
    answer = client.get(link_of(queue(subject="Secret offer")))

    assert "ann" not in answer.text.lower().replace("want", "")
    assert "Secret" not in answer.text
    assert "<script" not in answer.text
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("token", ["x", "%00", "a" * 43, "é", "-_" * 500, "=" * 8])
def test_a_token_that_is_none_finds_nothing(client: FlaskClient, queue: Queue, token: str) -> None:
    queue()
    assert client.get(f"/email/unsubscribe/{token}").status_code == 404
    assert client.post(f"/email/unsubscribe/{token}", data=ONE_CLICK).status_code == 404


def test_a_token_cannot_be_made_for_another_message(client: FlaskClient, queue: Queue) -> None:
    first, second = queue(), queue()
    mine, theirs = commands.token_of(first.id), commands.token_of(second.id)
    mixed = theirs[:21] + mine[21:]

    assert client.post(f"/email/unsubscribe/{mixed}", data=ONE_CLICK).status_code == 404
    assert suppressed() == []


def test_links_in_old_mails_survive_a_change_of_the_secret(
    app: Flask, client: FlaskClient, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = link_of(queue())
    former = app.config["SECRET_KEY"]
    monkeypatch.setitem(app.config, "SECRET_KEY", "another secret that is long enough too")
    assert client.get(link).status_code == 404

    monkeypatch.setitem(app.config, "SECRET_KEY_OLD", former)
    assert client.get(link).status_code == 200


def test_the_link_of_an_erased_mail_harms_nobody(client: FlaskClient, queue: Queue) -> None:
    message = queue()
    with db.transaction():
        commands.erase_email(message.id)

    assert client.post(link_of(message), data=ONE_CLICK).status_code == 200
    assert suppressed() == []


# by hand


def test_an_address_is_suppressed_listed_and_let_through_by_rest(
    api: Api, queue: Queue, drain: Drain
) -> None:
    client = api("email:read", "email:write")
    made = client.post("/email/suppressions", json={"address": "Ann@EXAMPLE.com", "note": "called us"})
    assert made.status_code == 201
    assert (made.json["address"], made.json["scope"], made.json["reason"]) == (
        "ann@example.com",
        "all",
        "manual",
    )
    assert client.get(made.headers["Location"]).json == made.json
    assert client.get("/email/suppressions?address=ANN@example.com").json["items"] == [made.json]
    assert client.get("/email/suppressions?address=bob@example.com").json["items"] == []

    held = queue(to="aNN@example.com")
    drain()
    assert fresh(held).status == "suppressed"

    assert client.delete(made.headers["Location"]).status_code == 204
    assert client.get(made.headers["Location"]).status_code == 404
    with db.transaction():
        commands.retry_email(held.id)
    drain()
    assert fresh(held).status == "sent"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"address": "no address"}, "/address"),
        ({}, "/address"),
        ({"address": "a@example.com", "scope": "some"}, "/scope"),
        ({"address": "a@example.com", "note": "x" * 301}, "/note"),
        ({"address": "a@example.com", "why": "x"}, "/why"),
    ],
)
def test_what_is_no_suppression_is_refused(api: Api, body: dict[str, Any], where: str) -> None:
    answer = api().post("/email/suppressions", json=body)

    assert answer.status_code == 422
    assert where in [problem["where"] for problem in answer.json["errors"]]
    assert suppressed() == []


def test_the_same_suppression_twice_is_a_conflict(api: Api) -> None:
    body = {"address": "ann@example.com", "scope": "marketing"}

    assert [api().post("/email/suppressions", json=body).status_code for _ in range(2)] == [201, 409]
    assert api().post("/email/suppressions", json=body | {"scope": "all"}).status_code == 201


def test_suppressions_need_their_scopes(api: Api) -> None:
    assert api("email:send").get("/email/suppressions").status_code == 403
    assert api("email:read", "email:send").post("/email/suppressions", json={}).status_code == 403
    assert api("email:read").delete(f"/email/suppressions/{db.new_id()}").status_code == 403


def test_pages_of_suppressions_follow_each_other(api: Api) -> None:
    with db.transaction():
        for number in range(5):
            commands.suppress(f"a{number}@example.com", "all", "bounced")
    client = api("email:read")
    seen: list[str] = []
    path = "/email/suppressions?limit=2"
    while True:
        page = client.get(path).json
        seen += [item["address"] for item in page["items"]]
        if page["next"] is None:
            break
        path = f"/email/suppressions?limit=2&cursor={page['next']}"

    assert seen == [f"a{number}@example.com" for number in (4, 3, 2, 1, 0)]


def test_a_mail_by_rest_says_its_category_and_what_the_provider_told(api: Api, drain: Drain) -> None:
    client = api("email:send", "email:read")
    body = {"to": "ann@example.com", "subject": "Hi", "text": "Hi", "category": "marketing"}
    made = client.post("/email", json=body)
    drain()

    shown = client.get(made.headers["Location"]).json
    assert (shown["category"], shown["delivery"], shown["events"]) == ("marketing", None, [])
    assert client.post("/email", json=body | {"category": "spam"}).status_code == 422
    assert queries.get_message(shown["id"]).category == "marketing"
