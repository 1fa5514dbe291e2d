"""The REST door of the email service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from app.email import queries
from app.email.api import emails
from app.email.models import Message, Template
from app.kit import db

MakeTemplate = Callable[..., Template]
Api = Callable[..., Any]


def told(answer: Any) -> set[tuple[str, str]]:
    assert answer.mimetype == "application/problem+json", answer.text
    return {(item["where"], item["code"]) for item in answer.json.get("errors", [])}


def test_a_mail_by_template_is_accepted_sent_and_can_be_followed(
    api: Api, make_template: MakeTemplate, drain: Callable[[], None]
) -> None:
    make_template()
    client = api("email:send", "email:read")

    answer = client.post(
        "/email",
        json={
            "to": "Ann@Example.com",
            "template": "greeting",
            "language": "en",
            "variables": {"name": "Ann", "count": 2},
            "lead_id": "lead-1",
        },
    )
    assert answer.status_code == 202
    assert answer.json["status"] == "queued"
    drain()

    shown = client.get(answer.headers["Location"]).json
    assert (shown["status"], shown["subject"], shown["to"]) == ("sent", "Hello Ann", "Ann@example.com")
    assert shown["text"] == "Hello Ann of , 2 times\n"
    assert client.get("/email?lead_id=lead-1&status=sent").json["items"][0]["id"] == shown["id"]
    assert client.get("/email?lead_id=lead-1&status=failed").json["items"] == []


def test_a_mail_with_its_own_html_gets_a_text_part(api: Api, drain: Callable[[], None]) -> None:
    client = api()
    answer = client.post(
        "/email",
        json={"to": "ann@example.com", "subject": "Hi", "html": "<h1>Hi</h1><a href='https://x.es'>go</a>"},
    )
    drain()

    assert client.get(answer.headers["Location"]).json["text"] == "Hi\n\ngo (https://x.es)"


def test_a_repeated_request_with_the_same_key_sends_one_mail(api: Api) -> None:
    client = api()
    body = {"to": "ann@example.com", "subject": "Hi", "text": "Hi"}

    first = client.post("/email", json=body, headers={"Idempotency-Key": "k1"})
    again = client.post("/email", json=body, headers={"Idempotency-Key": "k1"})

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json["id"] == again.json["id"]
    assert len(queries.list_messages()) == 1


def test_all_faults_of_a_request_are_told_at_once_and_nothing_is_stored(
    api: Api, make_template: MakeTemplate
) -> None:
    make_template()

    answer = api().post(
        "/email",
        json={
            "to": "nobody",
            "template": "greeting",
            "variables": {"count": "many", "colour": "red"},
            "subject": "Hi",
            "lead_id": 7,
            "cc": "x@example.com",
            "b/c~c": 1,
        },
    )

    assert answer.status_code == 422
    assert told(answer) == {
        ("/to", "invalid_address"),
        ("/variables/name", "missing"),
        ("/variables/count", "wrong_type"),
        ("/variables/colour", "unknown_variable"),
        ("/subject", "not_with_template"),
        ("/lead_id", "wrong_type"),
        ("/cc", "unknown_field"),
        ("/b~1c~0c", "unknown_field"),
    }
    assert queries.list_messages() == []


def test_a_wrong_address_is_told_in_the_reader_s_language(api: Callable[..., Any]) -> None:
    for path, body in (
        ("/email", {"to": "ana@example", "subject": "x", "text": "x"}),
        ("/email/suppressions", {"address": "ana@example"}),
    ):
        (found,) = api().post(path, json=body, headers={"Accept-Language": "es"}).json["errors"]
        assert found["message"] == "No es una dirección a la que se pueda enviar correo."


def test_a_field_of_the_wrong_type_is_told_in_the_reader_s_language(api: Callable[..., Any]) -> None:
    body = {"to": "ana@example.com", "subject": 7, "variables": "x"}
    answer = api().post("/email", json=body, headers={"Accept-Language": "es"})
    told_in_spanish = {found["message"] for found in answer.json["errors"]}
    assert told_in_spanish >= {"«subject» debe ser un texto.", "«variables» debe ser un objeto."}


def test_a_template_that_grows_too_long_is_refused_in_the_reader_s_language(
    api: Callable[..., Any], make_template: MakeTemplate
) -> None:
    many = "{% for i in (1..count) %}{{ name }}{% endfor %}"
    make_template(key="long", body=f"<p>{many}</p>")
    body = {"to": "ana@example.com", "template": "long", "language": "en"}
    variables = {"name": "x", "count": 1_000_000}
    answer = api().post("/email", json={**body, "variables": variables}, headers={"Accept-Language": "es"})
    (found,) = answer.json["errors"]
    assert (found["where"], found["code"]) == ("/template", "render")
    assert found["message"] == "No se puede rellenar: sus bucles se repiten demasiadas veces."


@pytest.mark.parametrize(
    ("body", "where", "code"),
    [
        ({}, "/to", "missing"),
        ({"to": 7, "subject": "x", "text": "x"}, "/to", "wrong_type"),
        ({"to": "a@example.com", "template": "nothing"}, "/template", "unknown_template"),
        ({"to": "a@example.com", "template": "greeting", "language": "es"}, "/template", "unknown_template"),
        ({"to": "a@example.com", "subject": "x"}, "/html", "missing"),
        ({"to": "a@example.com", "text": "x"}, "/subject", "missing"),
        (
            {"to": "a@example.com", "subject": "x", "text": "x", "variables": {"a": 1}},
            "/variables",
            "without_template",
        ),
        ({"to": "a@example.com", "subject": "x", "text": "x" * 100_001}, "/text", "too_long"),
    ],
)
def test_a_bad_request_is_told_where_it_is_bad(
    api: Api, make_template: MakeTemplate, body: dict[str, Any], where: str, code: str
) -> None:
    make_template()

    answer = api().post("/email", json=body)

    assert answer.status_code == 422
    assert (where, code) in told(answer)


def test_a_body_that_is_no_json_object_is_refused(api: Api) -> None:
    client = api()

    assert client.post("/email", data=b"{", content_type="application/json").status_code == 400
    assert client.post("/email", json=["x"]).status_code == 422
    assert (
        client.post("/email", data=b"to=x", content_type="application/x-www-form-urlencoded").status_code
        == 415
    )


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("post", "/email", "email:read"),
        ("get", "/email", "email:send"),
        ("get", "/email/x", "email:send"),
        ("get", "/templates", "email:read"),
        ("get", "/templates/greeting", "email:read"),
        ("post", "/templates/greeting/preview", "email:read"),
    ],
)
def test_a_key_without_the_scope_is_refused(api: Api, method: str, path: str, scope: str) -> None:
    answer = getattr(api(scope), method)(path, **({"json": {}} if method == "post" else {}))

    assert answer.status_code == 403
    assert answer.mimetype == "application/problem+json"


@pytest.mark.parametrize("unknown", ["0198f000-0000-7000-8000-000000000001", "nonsense"])
def test_an_unknown_mail_is_not_found(api: Api, unknown: str) -> None:
    assert api().get(f"/email/{unknown}").status_code == 404


def test_lists_are_paged_and_end(
    api: Api, make_template: MakeTemplate, queue: Callable[..., Message]
) -> None:
    ids = [queue(to=f"a{number}@example.com").id for number in range(5)]
    for key in ("a", "b", "c"):
        make_template(key=key)
    client = api()

    def walk(path: str) -> list[dict[str, Any]]:
        items, cursor = [], ""
        while True:
            page = client.get(f"{path}?limit=2{cursor}").json
            items += page["items"]
            if page["next"] is None:
                return items
            cursor = f"&cursor={page['next']}"

    assert [item["id"] for item in walk("/email")] == ids[::-1]
    assert [item["key"] for item in walk("/templates")] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "path", ["/email?cursor=WzFd", "/email?cursor=!", "/templates?cursor=WzEsMl0", "/email?status=x"]
)
def test_a_cursor_or_filter_that_is_none_is_refused(api: Api, path: str) -> None:
    assert api().get(path).status_code == 422


def test_a_template_is_shown_with_what_it_declares(api: Api, make_template: MakeTemplate) -> None:
    make_template()
    make_template(language="es")
    client = api("templates:read")

    shown = client.get("/templates/greeting?language=en").json

    assert shown["subject"] == "Hello {{ name }}"
    assert shown["variables"][0] == {
        "name": "name",
        "type": "text",
        "required": True,
        "default": None,
        "sample": "Ann",
        "description": "",
    }
    assert [item["language"] for item in client.get("/templates?language=es").json["items"]] == ["es"]
    assert client.get("/templates/greeting?language=fr").status_code == 404
    assert client.get("/templates/nothing").status_code == 404


def test_a_preview_shows_the_mail_and_what_is_wrong_with_the_values(
    api: Api, make_template: MakeTemplate
) -> None:
    make_template()

    answer = api("templates:read").post(
        "/templates/greeting/preview",
        json={"language": "en", "variables": {"name": "<Bea>", "colour": "red"}},
    )

    assert answer.status_code == 200
    assert answer.json["subject"] == "Hello <Bea>"
    assert "Hello &lt;Bea&gt; of" in answer.json["html"]
    assert [item["code"] for item in answer.json["problems"]] == ["unknown_variable"]


def test_no_transaction_is_open_while_the_dns_is_asked_for_a_domain(
    app: Flask, api: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_then = []

    def dead(_domain: str) -> bool:
        open_then.append(db.db.session().in_transaction())
        return False

    monkeypatch.setitem(app.config, "EMAIL_CHECK_DNS", True)
    monkeypatch.setattr(emails, "accepts_mail", dead)
    mail = {"to": "lucia@example.com", "subject": "Hola", "text": "Hola"}
    answer = api().post("/email", json=mail, headers={"Idempotency-Key": "one"})
    assert [item["code"] for item in answer.json["errors"]] == ["no_mail_domain"]
    assert open_then == [False]
