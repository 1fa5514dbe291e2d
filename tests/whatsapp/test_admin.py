"""The screens: every page opens, secrets stay in, and what people do there is what the commands do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from markupsafe import escape
from sqlalchemy import func, select

from app.kit.db import db, own_context, transaction
from app.whatsapp import demo
from app.whatsapp.admin import words
from app.whatsapp.commands import channels
from app.whatsapp.models import Channel, Contact, Flow, FlowVersion, Message
from app.whatsapp.providers import SENDERS
from tests.fakes import meta_server
from tests.whatsapp.conftest import Line

Drain = Callable[[], None]


def post(browser: FlaskClient, path: str, **form: Any) -> Any:
    """Post a form with the CSRF token of the session."""
    page = browser.get("/admin/flows/list/").text
    token = page.partition('name="csrf-token" content="')[2].partition('"')[0]
    return browser.post(path, data={**form, "csrf_token": token})


def test_every_page_opens(admin: FlaskClient, meta: Line, drain: Drain) -> None:
    meta.say("hola")
    drain()
    contact = db.session.scalars(select(Contact)).one()
    flow = db.session.scalars(select(Flow)).first()
    assert flow is not None
    for path in (
        "/admin/flows/list/",
        "/admin/flows/add",
        f"/admin/flows/show/{flow.id}",
        "/admin/conversations/list/",
        f"/admin/conversations/show/{contact.id}",
        f"/admin/conversations/show/{contact.id}/messages",
        "/admin/channels/list/",
        "/admin/channels/add",
        "/admin/channels/add?provider=twilio",
        "/admin/channels/add?provider=simulator",
        f"/admin/channels/show/{meta.channel_id}",
        f"/admin/channels/edit/{meta.channel_id}",
        "/admin/simulator/",
        "/admin/received-webhooks/",
    ):
        assert admin.get(path).status_code == 200, path


def test_the_transcript_shows_bubbles_states_and_the_way(
    admin: FlaskClient, meta: Line, drain: Drain
) -> None:
    meta.server.plan(meta_server.error(400, 131047, "Re-engagement message"))
    meta.say("hola <b>")
    drain()
    contact = db.session.scalars(select(Contact)).one()
    page = admin.get(f"/admin/conversations/show/{contact.id}").text
    assert "hola &lt;b&gt;" in page
    assert "¿Cómo te llamas?" in page
    assert "ask_name" in page
    assert 'data-status="failed"' in page and 'data-status="sent"' in page
    assert "24" in page.partition('data-status="failed"')[2].partition('data-status="sent"')[0]
    assert contact.name in admin.get("/admin/conversations/list/").text


def test_a_channel_is_added_by_its_adapters_fields_and_its_secrets_never_leave(admin: FlaskClient) -> None:
    path = "/admin/channels/add?provider=meta"
    refused = post(admin, path, provider="meta", name="")
    assert refused.status_code == 422
    assert refused.text.count("field-error") >= 4
    assert db.session.scalar(select(func.count()).select_from(Channel)) == 0
    secret = "a-secret-that-must-not-leak"
    form = {
        "provider": "meta",
        "name": "Tienda",
        "active": "on",
        "credentials.phone_number_id": "123",
        "credentials.access_token": secret,
        "credentials.app_secret": secret,
        "credentials.verify_token": "verify",
    }
    assert post(admin, path, **form).status_code == 302
    db.session.rollback()
    channel = db.session.scalars(select(Channel)).one()
    assert (channel.address, channel.active) == ("123", True)
    for page in (f"/admin/channels/edit/{channel.id}", f"/admin/channels/show/{channel.id}"):
        assert secret not in admin.get(page).text
    assert "http://localhost/message" in admin.get(f"/admin/channels/show/{channel.id}").text
    kept = {"name": "Tienda 2", "credentials.phone_number_id": "123"}
    assert post(admin, f"/admin/channels/edit/{channel.id}", **kept).status_code == 302
    db.session.rollback()
    assert (channel.name, channel.active) == ("Tienda 2", False)
    db.session.refresh(channel, ["credentials"])
    assert channel.credentials["access_token"] == secret
    raw = db.session.connection(bind_arguments={"mapper": Channel}).exec_driver_sql(
        "SELECT credentials FROM whatsapp_channel"
    )
    assert secret.encode() not in bytes(raw.scalar_one())


def test_every_provider_is_offered_and_says_where_its_webhook_goes(admin: FlaskClient) -> None:
    assert set(words.PROVIDER) == set(words.ABOUT) == set(SENDERS)
    assert set(words.PASTE) == {name for name, sender in SENDERS.items() if sender.hook}
    page = admin.get("/admin/channels/add").text
    for provider, (_icon, sentence) in words.ABOUT.items():
        assert str(escape(sentence)) in page
        assert f"provider={provider}" in page


@pytest.mark.parametrize(("language", "greeting"), [("es", "Hola 👋"), ("en", "Hello 👋")])
def test_a_new_flow_speaks_as_its_author(admin: FlaskClient, language: str, greeting: str) -> None:
    admin.get(f"/lang/{language}")
    post(admin, "/admin/flows/add", name="Sales")
    draft = db.session.scalars(select(Flow)).one().draft
    assert (draft["language"], draft["nodes"][0]["text"]) == (language, greeting)


def test_flows_are_added_duplicated_and_archived(admin: FlaskClient) -> None:
    assert post(admin, "/admin/flows/add", name="Ventas").status_code == 302
    flow = db.session.scalars(select(Flow)).one()
    page = admin.get(f"/admin/flows/show/{flow.id}").text
    assert f'data-flow-id="{flow.id}"' in page and 'data-can-publish="true"' in page
    assert post(admin, f"/admin/flows/action/duplicate/{flow.id}").status_code == 302
    assert post(admin, f"/admin/flows/action/archive/{flow.id}").status_code == 302
    db.session.rollback()
    assert {row.name: row.archived_at is not None for row in db.session.scalars(select(Flow))}[
        "Ventas"
    ] is True
    assert db.session.scalar(select(func.count()).select_from(Flow)) == 2


def test_an_archived_flow_is_listed_apart_and_put_back_into_use(
    admin: FlaskClient, logged_in: Callable[[str], FlaskClient]
) -> None:
    post(admin, "/admin/flows/add", name="Temporada")
    flow = db.session.scalars(select(Flow)).one()
    post(admin, f"/admin/flows/action/archive/{flow.id}")
    assert f"/admin/flows/show/{flow.id}" not in admin.get("/admin/flows/list/").text
    archived = admin.get("/admin/flows/archived").text
    assert "Temporada" in archived and f"/admin/flows/restore/{flow.id}" in archived

    viewer = logged_in("viewer")
    assert f"/admin/flows/restore/{flow.id}" not in viewer.get("/admin/flows/archived").text
    assert post(viewer, f"/admin/flows/restore/{flow.id}").status_code == 403
    assert post(admin, f"/admin/flows/restore/{flow.id}").status_code == 302
    assert post(admin, "/admin/flows/restore/nothing").status_code == 404
    assert f"/admin/flows/show/{flow.id}" in admin.get("/admin/flows/list/").text
    assert "Temporada" not in admin.get("/admin/flows/archived").text


def test_a_flow_that_comes_back_tells_whose_keywords_it_takes(
    admin: FlaskClient, make_flow: Callable[..., str]
) -> None:
    words = {"keywords": ["precio"], "match": "word"}
    old = make_flow("Antes", triggers=words)
    post(admin, f"/admin/flows/action/archive/{old}")
    make_flow("Ahora", triggers=words)
    post(admin, f"/admin/flows/restore/{old}")
    told = admin.get("/admin/flows/archived").text
    assert "«precio» también inicia el flujo «Ahora»" in told


def test_a_person_takes_over_answers_and_gives_back(admin: FlaskClient, meta: Line, drain: Drain) -> None:
    meta.say("hola")
    drain()
    contact = db.session.scalars(select(Contact)).one()
    post(admin, f"/admin/conversations/take-over/{contact.id}")
    db.session.rollback()
    assert contact.mode == "human"
    post(admin, f"/admin/conversations/reply/{contact.id}", text="Soy Marta")
    drain()
    assert meta.sent[-1] == "Soy Marta"
    post(admin, f"/admin/conversations/reply/{contact.id}", text="   ")
    db.session.rollback()
    assert db.session.scalar(select(func.count()).select_from(Message).where(Message.author != "")) == 1
    post(admin, f"/admin/conversations/return/{contact.id}")
    db.session.rollback()
    assert contact.mode == "bot"


def test_a_viewer_changes_nothing(logged_in: Callable[[str], FlaskClient], meta: Line, drain: Drain) -> None:
    meta.say("hola")
    drain()
    contact = db.session.scalars(select(Contact)).one()
    viewer = logged_in("viewer")
    assert viewer.get(f"/admin/conversations/show/{contact.id}").status_code == 200
    assert post(viewer, f"/admin/conversations/take-over/{contact.id}").status_code in (302, 403)
    assert post(viewer, f"/admin/channels/edit/{meta.channel_id}", name="x").status_code in (302, 403)
    db.session.rollback()
    assert contact.mode == "bot"
    channel = db.session.get(Channel, meta.channel_id)
    assert channel is not None and channel.name == "Meta"


def test_the_demo_is_published_by_the_commands_and_loading_it_again_changes_nothing(
    app: Any, drain: Drain
) -> None:
    with own_context():
        first = demo.load_demo()
        again = demo.load_demo()
    assert len(first) >= 2 and again == []
    assert db.session.scalar(select(func.count()).select_from(FlowVersion)) == len(demo.FLOWS)
    channel = db.session.scalars(select(Channel)).one()
    assert channel.provider == "simulator" and channel.default_flow_id is not None


def test_credentials_in_the_environment_become_a_channel(app: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(app.config, "META_PHONE_NUMBER_ID", "555")
    monkeypatch.setitem(app.config, "META_ACCESS_TOKEN", "x")
    for _ in range(2):
        with own_context():
            demo.seed()
    channel = db.session.scalars(select(Channel)).one()
    assert (channel.provider, channel.address, channel.credentials) == ("meta", "555", {})
    with own_context(), transaction():
        assert channels.adopt_environment() == []
