"""The screens of the email service, used as a browser uses them; asserted on rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from app.contracts.problems import problem
from app.email import commands, queries
from app.email.models import Attempt, Message, Template
from app.email.providers import Result
from app.email.providers.feedback import Told
from app.email.providers.ways import WAYS
from app.kit import db
from app.kit.errors import Permanent
from tests.admin.pages import words as words_of
from tests.fakes.smtp_server import SmtpScript

Drain = Callable[[], None]
MakeTemplate = Callable[..., Template]
Queue = Callable[..., Message]

FORM = {
    "name": "Offer",
    "key": "offer",
    "language": "en",
    "format": "html",
    "subject": "An offer for {{ name }}",
    "body": "<p>Dear {{ name }}, pay {{ price }}</p>",
    "text": "",
    "variables-0-name": "name",
    "variables-0-type": "text",
    "variables-0-sample": "Ann",
    "variables-0-required": "y",
    "variables-1-name": "price",
    "variables-1-type": "number",
    "variables-1-default": "5",
    "variables-2-name": "",
    "variables-2-type": "text",
}


@pytest.fixture
def admin(admin: FlaskClient) -> FlaskClient:
    """The administrator, whose browser asks for English."""
    admin.environ_base["HTTP_ACCEPT_LANGUAGE"] = "en"
    return admin


def post(client: FlaskClient, path: str, page: str, data: dict[str, Any] | None = None) -> Any:
    """Post with the CSRF token of a page."""
    token = re.search(r'name="csrf-token" content="([^"]+)"', client.get(page).text)
    assert token is not None
    return client.post(path, data={**(data or {}), "csrf_token": token[1]})


def forget() -> None:
    """Read anew: neither an old snapshot nor remembered rows."""
    db.db.session.rollback()
    db.db.session.expire_all()


def stored() -> list[Message]:
    forget()
    return [queries.get_message(message.id) for message in queries.list_messages()]


def test_a_template_is_written_in_the_form_and_changed_again(admin: FlaskClient) -> None:
    made = post(admin, "/admin/email-templates/add", "/admin/email-templates/add", FORM)
    assert made.status_code == 302, made.text

    found = queries.get_template("offer", "en")
    assert found.version.variables[0]["required"] is True
    assert [row["name"] for row in found.version.variables] == ["name", "price"]

    edit = f"/admin/email-templates/edit/{found.template.id}"
    page = admin.get(edit).text
    assert "Dear {{ name }}" in page
    assert 'value="price"' in page
    changed = {**FORM, "subject": "New: {{ name }}", "_version": "1"}
    assert post(admin, edit, edit, changed).status_code == 302

    forget()
    assert queries.get_template("offer", "en").version.subject == "New: {{ name }}"
    assert queries.get_template("offer", "en").version.number == 2


def test_the_form_tells_what_is_wrong_and_keeps_what_was_typed(admin: FlaskClient) -> None:
    bad = {**FORM, "key": "Not a key", "body": "<p>{{ nobody }}</p>", "variables-0-name": "Bad Name"}

    answer = post(admin, "/admin/email-templates/add", "/admin/email-templates/add", bad)

    assert answer.status_code == 422
    assert "nobody" in answer.text
    assert "is not a variable name" in answer.text
    assert 'value="Bad Name"' in answer.text
    assert queries.list_templates() == []


def test_the_preview_shows_what_the_form_says_now(admin: FlaskClient) -> None:
    answer = post(admin, "/admin/email-templates/preview", "/admin/email-templates/add", FORM)

    assert answer.json["subject"] == "An offer for Ann"
    assert "Dear Ann, pay 5" in answer.json["html"]
    assert answer.json["problems"] == []

    broken = post(
        admin,
        "/admin/email-templates/preview",
        "/admin/email-templates/add",
        {**FORM, "body": "<p>{% if %}</p>"},
    )
    assert broken.json["html"] is None
    assert broken.json["problems"]


def test_a_template_can_be_tried_and_an_old_version_used_again(
    admin: FlaskClient, make_template: MakeTemplate, drain: Drain
) -> None:
    made = make_template()
    with db.transaction():
        commands.change_template(made.id, {"subject": "Changed {{ name }}"})
    show = f"/admin/email-templates/show/{made.id}"
    page = admin.get(show)
    assert page.status_code == 200
    assert "Changed Ann" in page.text

    frame = admin.get(f"/admin/email-templates/frame/{made.id}?version=1")
    assert "sandbox" in frame.headers["Content-Security-Policy"]
    assert "Hello Ann" in frame.text
    assert admin.get(f"/admin/email-templates/frame/{made.id}?version=9").status_code == 404

    sent = post(admin, f"/admin/email-templates/send-sample/{made.id}", show, {"to": "me@example.com"})
    assert sent.status_code == 302
    drain()
    (mail,) = stored()
    assert (mail.to, mail.subject, mail.status) == ("me@example.com", "[greeting] Changed Ann", "sent")

    post(admin, f"/admin/email-templates/restore-version/{made.id}/1", show)
    forget()
    assert queries.template_by_id(made.id).version.subject == "Hello {{ name }}"

    beyond = post(admin, f"/admin/email-templates/restore-version/{made.id}/{'9' * 30}", show)
    assert beyond.status_code == 404

    post(admin, f"/admin/email-templates/action/archive/{made.id}", show)
    forget()
    assert queries.find_template("greeting", "en") is None


def test_the_outbox_lists_mails_and_says_that_no_server_is_set(
    admin: FlaskClient, queue: Queue, drain: Drain
) -> None:
    queue(subject="Hello <b>Ann</b>")
    drain()

    page = admin.get("/admin/outbox/list/")

    assert page.status_code == 200
    assert "mails are kept here" in page.text
    assert 'href="/admin/mail-providers/"' in page.text.split("mails are kept here")[1][:200]
    assert "Hello &lt;b&gt;Ann&lt;/b&gt;" in page.text
    assert admin.get("/admin/outbox/list/?f.status=failed").status_code == 200
    assert admin.get("/admin/outbox/list/?q=nobody").status_code == 200


def test_a_mail_is_read_in_a_frame_that_can_do_nothing(admin: FlaskClient, queue: Queue) -> None:
    mail = queue(html="<h1>Hi</h1><script>alert(1)</script>", text=None)

    page = admin.get(f"/admin/outbox/show/{mail.id}")
    body = admin.get(f"/admin/outbox/body/{mail.id}")

    assert page.status_code == 200
    assert "<iframe sandbox" in page.text
    assert "<script>alert" not in page.text
    assert body.headers["Content-Security-Policy"].startswith("sandbox;")


def test_a_waiting_mail_is_stopped_and_sent_again_by_hand(
    admin: FlaskClient, queue: Queue, drain: Drain
) -> None:
    mail = queue()
    show = f"/admin/outbox/show/{mail.id}"

    post(admin, f"/admin/outbox/action/cancel/{mail.id}", show)
    assert [message.status for message in stored()] == ["cancelled"]

    post(admin, f"/admin/outbox/action/retry/{mail.id}", show)
    drain()
    assert [message.status for message in stored()] == ["sent"]


def test_an_error_is_told_in_plain_words(admin: FlaskClient, queue: Queue, app: Flask) -> None:
    mail = queue()
    with db.transaction():
        (claimed,) = commands.claim_due(1)
    with db.transaction():
        commands.record(
            [Result(ref=claimed.letter.ref, error=Permanent("5.1.1 no such user", code="550"))],
            provider="smtp",
            claims={claimed.letter.ref: claimed.until},
        )

    page = admin.get(f"/admin/outbox/show/{mail.id}").text

    assert "there is no such mailbox" in page
    assert "5.1.1 no such user" in page


def test_why_a_mail_could_not_be_written_is_told_in_the_reader_s_language(admin: FlaskClient) -> None:
    order = commands.Order(to="ann@example.com", template="nothing", by="test")
    wrong = problem("/template", "unknown_template", "There is no template “%(key)s”.", key="nothing")
    with db.transaction():
        mail = commands.note_unsendable(order, [wrong])
    spanish = "No se pudo escribir: No hay ninguna plantilla «nothing»."
    page = f"/admin/outbox/show/{mail.id}"
    shown = admin.get(page, headers={"Accept-Language": "es"}).text
    assert shown.count(spanish) == 2, "above, and in the story"

    with db.transaction():  # as releases before this one kept it
        db.db.session.execute(update(Attempt).values(problems=None))
    assert "There is no template “nothing”." in admin.get(page, headers={"Accept-Language": "es"}).text


@pytest.mark.parametrize(
    ("role", "outbox", "templates", "writing"),
    [("manager", 200, 200, 200), ("seller", None, 200, None), ("viewer", 200, 200, None)],
)
def test_roles_see_what_they_may(
    logged_in: Callable[[str], FlaskClient],
    role: str,
    outbox: int | None,
    templates: int,
    writing: int | None,
) -> None:
    client = logged_in(role)

    for path, expected in (
        ("/admin/outbox/list/", outbox),
        ("/admin/email-templates/list/", templates),
        ("/admin/email-templates/add", writing),
    ):
        status = client.get(path).status_code
        assert status == expected if expected else status in (302, 403, 404), path


def test_the_home_page_counts_mails(admin: FlaskClient, queue: Queue, drain: Drain) -> None:
    queue()
    drain()
    queue()

    cards = {card["key"]: card["value"] for card in admin.get("/home/live").json["cards"]}

    assert (cards["mails_sent"], cards["mails_waiting"], cards["mails_troubled"]) == ("1", "1", "0")


# providers, feedback, suppression


def provider_page(client: FlaskClient) -> str:
    return str(client.get("/admin/mail-providers/").text)


def test_the_provider_page_shows_the_order_and_each_ones_state(
    app: Flask, admin: FlaskClient, mail_server: SmtpScript, queue: Queue, drain: Drain
) -> None:
    queue()
    drain()
    page = words_of(provider_page(admin))
    assert "1. SMTP Works" in page
    assert "2. SendGrid Not set up" in page
    assert "Sent today 1" in page

    app.config["MAIL_PORT"] = 1
    for _ in range(5):
        queue()
        drain()
    page = words_of(provider_page(admin))
    assert "1. SMTP Failing" in page
    assert "Nothing answers at the mail server's address." in page
    health = {item["label"]: item for item in admin.get("/home/live").json["health"]}
    assert (health["E-mail"]["level"], health["E-mail"]["text"]) == (
        "error",
        "SMTP keep failing; mails wait.",
    )


def test_the_order_is_changed_and_a_provider_switched_off(admin: FlaskClient) -> None:
    post(admin, "/admin/mail-providers/move/ses/0", "/admin/mail-providers/")
    post(admin, "/admin/mail-providers/use/smtp/0", "/admin/mail-providers/")

    forget()
    ways = queries.all_ways({})
    assert [one.name for one in ways] == ["ses", *(name for name in WAYS if name != "ses")]
    assert [one.name for one in ways if not one.enabled] == ["smtp"]
    for beyond in ("9" * 30, "9" * 5000):
        moved = post(admin, f"/admin/mail-providers/move/smtp/{beyond}", "/admin/mail-providers/")
        assert moved.status_code == 404
    assert post(admin, "/admin/mail-providers/move/pigeon/0", "/admin/mail-providers/").status_code == 404
    assert post(admin, "/admin/mail-providers/use/pigeon/0", "/admin/mail-providers/").status_code == 404


def test_a_secret_is_typed_in_kept_when_left_empty_forgotten_when_asked_and_never_shown(
    admin: FlaskClient,
) -> None:
    save = "/admin/mail-providers/save/sendgrid"
    page = "/admin/mail-providers/"
    post(
        admin,
        save,
        page,
        {"SENDGRID_API_KEY": "SG.secret", "MAIL_DEFAULT_SENDER": "a@example.com", "rate": "2,5"},
    )
    forget()
    (one,) = [way for way in queries.all_ways({}) if way.name == "sendgrid"]
    assert (one.config["SENDGRID_API_KEY"], one.config["MAIL_DEFAULT_SENDER"], one.rate) == (
        "SG.secret",
        "a@example.com",
        2.5,
    )
    assert "SG.secret" not in provider_page(admin)
    assert "a@example.com" in provider_page(admin)

    post(admin, save, page, {"SENDGRID_API_KEY": ""})
    forget()
    (one,) = [way for way in queries.all_ways({}) if way.name == "sendgrid"]
    assert (one.config.get("SENDGRID_API_KEY"), one.config.get("MAIL_DEFAULT_SENDER"), one.rate) == (
        "SG.secret",
        None,
        None,
    )

    post(admin, save, page, {"SENDGRID_API_KEY-forget": "1"})
    forget()
    assert not [way for way in queries.all_ways({}) if way.is_configured]


@pytest.mark.parametrize(
    "bad",
    [
        {"MAIL_PORT": "many"},
        {"MAIL_PORT": "99999999999999"},
        {"MAIL_PORT": "9" * 5000},
        {"rate": "fast"},
        {"rate": "-1"},
        {"rate": "nan"},
        {"MAIL_SERVER": "x" * 3000},
        {"MAIL_SERVER": "a\x00b"},
        {"MAIL_USE_TLS": "on", "MAIL_USE_SSL": "on"},
    ],
)
def test_settings_that_cannot_be_are_refused(admin: FlaskClient, bad: dict[str, str]) -> None:
    answer = post(admin, "/admin/mail-providers/save/smtp", "/admin/mail-providers/", bad)

    assert answer.status_code == 302
    forget()
    (smtp,) = [one for one in queries.all_ways({}) if one.name == "smtp"]
    assert (smtp.own_settings, smtp.rate) == ((), None)
    assert "flash" in provider_page(admin)


def test_a_provider_is_tried_with_a_mail_and_says_what_is_wrong(
    app: Flask, admin: FlaskClient, mail_server: SmtpScript
) -> None:
    page, path = "/admin/mail-providers/", "/admin/mail-providers/try/smtp"
    post(admin, path, page, {"to": "me@example.com"})
    assert mail_server.recipients() == ["me@example.com"]
    assert "SMTP took the test mail." in provider_page(admin)

    mail_server.rcpt.append("550 5.1.1 no such user")
    post(admin, path, page, {"to": "me@example.com"})
    assert "there is no such mailbox" in provider_page(admin)

    app.config["MAIL_PORT"] = 1
    post(admin, path, page, {"to": "me@example.com"})
    assert "Nothing answers at the mail server's address." in unescape(provider_page(admin))

    post(admin, path, page, {"to": "nobody"})
    provider_page(admin)  # which tells of what went before, once
    post(admin, "/admin/mail-providers/try/sendgrid", page, {"to": "me@example.com"})
    told = unescape(provider_page(admin))
    assert "SendGrid: What it needs is not set yet; fill in its settings." in told
    assert "SENDGRID_API_KEY is missing" not in told
    assert mail_server.recipients() == ["me@example.com"]


@pytest.mark.parametrize(("role", "reads"), [("manager", True), ("seller", False), ("viewer", False)])
def test_only_administrators_change_providers(
    logged_in: Callable[[str], FlaskClient], role: str, reads: bool
) -> None:
    client = logged_in(role)

    assert (client.get("/admin/mail-providers/").status_code == 200) is reads
    if reads:
        assert "save/smtp" not in provider_page(client)
    post(client, "/admin/mail-providers/use/smtp/0", "/")
    forget()
    assert all(one.enabled for one in queries.all_ways({}))


def test_the_page_of_a_mail_tells_what_the_provider_told(
    admin: FlaskClient, queue: Queue, drain: Drain
) -> None:
    mail = queue()
    drain()
    with db.transaction():
        commands.store_notice("sendgrid", "sendgrid:1", b"[]")
        (notice,) = commands.claim_notices()
        commands.take_in(
            notice.id,
            [
                Told(kind="bounced", event_key="1", at=db.utcnow(), message_id=mail.id, reason="invalid",
                     permanent=True, detail="550 <b>no</b>"),
            ],
        )  # fmt: skip

    page = admin.get(f"/admin/outbox/show/{mail.id}").text

    assert "There is no such mailbox." in page
    assert "550 &lt;b&gt;no&lt;/b&gt;" in page
    assert admin.get("/admin/outbox/list/?f.delivery=bounced").text.count("Hello") > 0
    assert "ann@example.com" in admin.get("/admin/suppressions/list/").text


def test_addresses_are_suppressed_and_let_through_by_hand(admin: FlaskClient) -> None:
    add = "/admin/suppressions/add"
    made = post(admin, add, add, {"address": "Ann@example.com", "scope": "marketing", "note": "by phone"})
    assert made.status_code == 302, made.text
    forget()
    (row,) = queries.list_suppressions()
    assert (row.address, row.scope, row.reason, row.created_by) == (
        "ann@example.com",
        "marketing",
        "manual",
        "admin",
    )
    assert post(admin, add, add, {"address": "nobody", "scope": "all"}).status_code == 422

    post(admin, f"/admin/suppressions/delete/{row.id}", "/admin/suppressions/list/")
    forget()
    assert queries.list_suppressions() == []


def test_a_mail_is_erased_for_good(admin: FlaskClient, queue: Queue) -> None:
    mail = queue(subject="Private")

    post(admin, f"/admin/outbox/action/erase/{mail.id}", f"/admin/outbox/show/{mail.id}")

    (row,) = stored()
    assert (row.status, row.to, row.to_ascii, row.subject, row.text) == ("cancelled", "", "", "", "")
    assert admin.get(f"/admin/outbox/show/{mail.id}").status_code == 200


def test_a_template_says_that_it_is_advertising(admin: FlaskClient) -> None:
    path = "/admin/email-templates/add"
    assert post(admin, path, path, {**FORM, "category": "marketing"}).status_code == 302

    forget()
    assert queries.get_template("offer", "en").template.category == "marketing"
