"""Templates are saved in versions, and only when they can be sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from app.email import commands, queries
from app.email.demo import load_demo
from app.email.models import Message, Template
from app.kit import db
from app.kit.errors import Invalid, NotFound

MakeTemplate = Callable[..., Template]


def test_every_change_of_the_text_is_a_version_and_an_old_one_can_be_restored(
    make_template: MakeTemplate,
) -> None:
    made = make_template()
    with db.transaction():
        commands.change_template(made.id, {"subject": "Good day {{ name }}"}, by="ann")
    with db.transaction():
        commands.change_template(made.id, {"name": "Another name"}, by="ann")
    with db.transaction():
        commands.restore_version(made.id, 1, by="bob")

    found = queries.template_by_id(made.id)
    assert (found.template.version, found.version.subject) == (3, "Hello {{ name }}")
    assert [version.number for version in queries.versions_of(made.id)] == [3, 2, 1]
    assert found.template.name == "Another name"
    assert found.version.created_by == "bob"


def test_saving_tells_every_fault_and_stores_nothing(app: Flask) -> None:
    with pytest.raises(Invalid) as caught, db.transaction():
        commands.create_template(
            {
                "key": "Not a key!",
                "language": "fr",
                "subject": "",
                "body": "{{ nope }}",
                "variables": [{"name": "X"}],
            }
        )

    assert {found.where for found in caught.value.problems} == {
        "/key",
        "/language",
        "/subject",
        "/body",
        "/variables/0/name",
    }
    assert queries.list_templates() == []


def test_a_change_that_could_not_be_sent_leaves_the_template_as_it_was(make_template: MakeTemplate) -> None:
    made = make_template()

    with pytest.raises(Invalid), db.transaction():
        commands.change_template(made.id, {"body": "<p>{{ nobody }}</p>"})

    assert queries.template_by_id(made.id).version.number == 1


def test_a_key_exists_once_per_language(make_template: MakeTemplate) -> None:
    make_template()
    make_template(language="es")

    with pytest.raises(Invalid) as caught:
        make_template()

    assert [(found.where, found.code) for found in caught.value.problems] == [("/key", "taken")]


def test_a_template_is_found_in_the_wanted_language_else_in_spanish_else_in_english(
    make_template: MakeTemplate,
) -> None:
    make_template(key="both", language="en")
    make_template(key="both", language="es")
    make_template(key="english", language="en")

    def language(key: str, wanted: str | None) -> str | None:
        found = queries.find_template(key, wanted)
        return found.template.language if found else None

    assert [language("both", wanted) for wanted in ("en", "es", "fr", None)] == ["en", "es", "es", "es"]
    assert language("english", "es") == "en"
    assert language("neither", "es") is None


def test_an_archived_template_is_not_used_until_it_is_restored(make_template: MakeTemplate) -> None:
    made = make_template()
    with db.transaction():
        commands.archive_template(made.id)
    assert queries.find_template("greeting", "en") is None
    assert queries.list_templates() == []

    with db.transaction():
        commands.restore_template(made.id)
    assert queries.find_template("greeting", "en") is not None


@pytest.mark.parametrize("unknown", ["0198f000-0000-7000-8000-000000000001", "nonsense", ""])
def test_an_unknown_template_is_not_found(app: Flask, unknown: str) -> None:
    with pytest.raises(NotFound), db.transaction():
        commands.change_template(unknown, {"subject": "x"})


def test_the_demo_is_loaded_once(app: Flask) -> None:
    assert len(load_demo()) == 2
    assert load_demo() == []
    assert [found.template.language for found in queries.list_templates()] == ["en", "es"]


def test_a_mail_tells_the_time_of_the_installations_zone(
    app: Flask, make_template: MakeTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "TIMEZONE", "Asia/Kolkata")
    made = make_template(body="<p>{{ name }}: {{ 'now' | date: '%z' }}</p>")
    with db.transaction():
        sent = commands.queue_email(
            commands.Order(to="ana@example.com", template=made.key, variables={"name": "Ana"})
        )
        tried = commands.send_sample(made.id, "ana@example.com")
    assert "Ana: +0530" in sent.text
    assert "+0530" in tried.text


def test_mails_sent_today_are_those_since_the_zones_midnight(
    app: Flask, queue: Callable[..., Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "TIMEZONE", "America/Mexico_City")
    now = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)  # half past seven in the evening of the first
    for hours in (19, 20):
        row = queue()
        with db.transaction() as session:
            kept = session.get_one(Message, row.id)
            kept.status, kept.provider, kept.sent_at = "sent", "smtp", now - timedelta(hours=hours)
    assert queries.count_sent_today(now) == 1
    assert queries.count_sent_by(now) == {"smtp": 1}
