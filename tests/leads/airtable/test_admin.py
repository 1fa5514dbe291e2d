"""The screens of the sync, as an administrator, a manager and a seller see them; and the stand-in behind the web."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.serving import make_server

from app.kit.auth import SYSTEM
from app.kit.db import db, transaction
from app.leads import commands, demo
from app.leads.commands import airtable_settings
from app.leads.models import AirtableConflict, AirtableConnection
from app.leads.queries import airtable as queries
from app.leads.queries.airtable_stand_in import FILE
from tests.leads.airtable.conftest import COLUMN, Clock, Table, connection, link, pull, push
from tests.leads.people import keep, living

SHOWN = ("/admin/airtable/", "/admin/airtable/setup/routes")


def post(browser: FlaskClient, path: str, **form: Any) -> Any:
    token = re.search(r'name="csrf-token" content="([^"]+)"', browser.get("/admin/leads/list/").text)
    assert token
    return browser.post(path, data={**form, "csrf_token": token.group(1)})


def notice(browser: FlaskClient) -> str:
    """The notices of the next page, in Spanish."""
    page = browser.get("/admin/airtable/", headers={"Accept-Language": "es"}).text
    return unescape(" ".join(re.findall(r'<div class="flash[^>]*>(.*?)</div>', page, re.DOTALL)))


@pytest.fixture
def web(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The app on a socket, so that the stand-in it serves can be called as Airtable is."""
    import threading
    from pathlib import Path

    app.extensions.pop("leads_stand_in", None)
    for suffix in ("", "-wal", "-shm"):
        (Path(app.instance_path) / f"{FILE}{suffix}").unlink(missing_ok=True)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setitem(
        app.config, "AIRTABLE_STAND_IN_URL", f"http://127.0.0.1:{server.port}{queries.STAND_IN_PATH}"
    )
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    server.server_close()
    thread.join(timeout=5)
    stand_in = app.extensions.pop("leads_stand_in", None)
    if stand_in is not None:
        stand_in.store.close()


def test_a_table_is_connected_step_by_step_and_leads_go_into_it(admin: FlaskClient, web: str) -> None:
    keep(name="Ann Smith", email="ann@example.com", stage="won")
    page = admin.get("/admin/airtable/setup/new")
    assert "stand_in" in page.text
    answer = post(admin, "/admin/airtable/setup/new", name="Try it", stand_in="1")
    assert answer.status_code == 302, answer.text
    step = answer.location
    assert "Ventas (demo)" in admin.get(step).text
    base = "appEmbudoStandIn0"
    assert "Leads" in admin.get(f"{step}?base={base}").text
    answer = post(admin, step, base=base, table="tblEmbudoLeads000")
    assert answer.status_code == 302, answer.text
    fields = admin.get(answer.location).text
    assert re.search(r'value="name" selected', fields)
    form = dict(re.findall(r'name="((?:f|d|o)\.[^"]+)"', fields) and [])
    for name, options in re.findall(
        r'<select class="form-control" (?:id="[^"]*" )?name="([^"]+)"[^>]*>(.*?)</select>', fields, re.DOTALL
    ):
        chosen = re.search(r'<option value="([^"]*)" selected', options) or re.search(
            r"<option selected>([^<]*)", options
        )
        form[name] = chosen.group(1) if chosen else ""
    answer = post(admin, answer.location, **form)
    assert answer.status_code == 302, answer.text
    settings = answer.location
    assert admin.get(settings).status_code == 200
    answer = post(
        admin, settings, name="Try it", direction="both", policy="newest", new_records="create",
        remote_deletions="unlink", local_deletions="ignore", poll_minutes="5", create_options="on",
    )  # fmt: skip
    assert answer.location == "/admin/airtable/"
    push()
    overview = admin.get("/admin/airtable/").text
    assert "Try it" in overview
    seen = admin.get("/admin/airtable-stand-in/").text
    assert "Ann Smith" in seen and "Ganado" in seen


def test_an_edit_in_the_stand_in_comes_back(admin: FlaskClient, web: str) -> None:
    from app.leads import demo

    demo.load_demo()
    push()
    row = next(item for item in living() if item.name == "Hugo Navarro")
    found = link(row.id)
    assert found is not None and found.record_id
    page = admin.get(f"/admin/airtable-stand-in/?edit={found.record_id}")
    assert "Hugo Navarro" in page.text
    post(admin, "/admin/airtable-stand-in/save", record=found.record_id, **{COLUMN["company"]: "Navarro SL"})
    pull()
    assert next(item for item in living() if item.id == row.id).company == "Navarro SL"
    answer = post(
        admin, "/admin/airtable-stand-in/save", record=found.record_id, **{COLUMN["amount"]: "a lot"}
    )
    assert answer.status_code == 302
    assert "El Airtable local no lo aceptó: «Field" in notice(admin)
    post(admin, "/admin/airtable-stand-in/save", record="recNope", **{COLUMN["company"]: "Nobody"})
    assert "Esta fila ya no está en la tabla." in notice(admin)
    post(admin, "/admin/airtable-stand-in/remove/recNope")
    assert "Esta fila ya no está en la tabla." in notice(admin)
    post(admin, f"/admin/airtable-stand-in/remove/{found.record_id}")
    assert found.record_id not in admin.get("/admin/airtable-stand-in/").text


def test_every_page_opens_in_both_languages(
    admin: FlaskClient, connect: Callable[..., str], table: Table
) -> None:
    connection_id = connect()
    lead = keep()
    push()
    for path in (
        *SHOWN, "/admin/airtable/setup/new", f"/admin/airtable/setup/table/{connection_id}",
        f"/admin/airtable/setup/fields/{connection_id}", f"/admin/airtable/setup/settings/{connection_id}",
        f"/admin/leads/show/{lead.id}", "/",
    ):  # fmt: skip
        for language in ("es", "en"):
            answer = admin.get(path, headers={"Accept-Language": language})
            assert answer.status_code == 200, (path, answer.text[:300])


def test_a_manager_reads_and_a_seller_sees_nothing(
    logged_in: Callable[[str], FlaskClient], connect: Callable[..., str]
) -> None:
    connection_id = connect()
    manager, seller = logged_in("manager"), logged_in("seller")
    for path in SHOWN:
        assert manager.get(path).status_code == 200
        assert seller.get(path).status_code in (302, 403)
    assert post(manager, f"/admin/airtable/pause/{connection_id}").status_code in (302, 403)
    assert post(manager, "/admin/airtable/setup/routes").status_code == 403
    assert connection(connection_id).state == "active"
    assert "/admin/airtable/" not in seller.get("/admin/leads/list/").text


def test_the_token_is_never_shown_and_only_stored_encrypted(
    admin: FlaskClient, connect: Callable[..., str]
) -> None:
    from tests.leads.airtable.conftest import TOKEN

    connection_id = connect()
    for path in ("/admin/airtable/", f"/admin/airtable/setup/settings/{connection_id}"):
        assert TOKEN not in admin.get(path).text
    with db.engines["leads"].connect() as raw:
        stored = raw.execute(select(AirtableConnection.__table__.c.token)).scalar_one()
    assert stored == {"token": TOKEN}
    with db.engines["leads"].connect() as raw:
        assert TOKEN.encode() not in bytes(
            raw.exec_driver_sql("SELECT token FROM leads_airtable_connection").scalar()
        )


@pytest.mark.parametrize("minutes", ["", "soon", "0", "1441", "9" * 30, "9" * 5000])
def test_minutes_that_cannot_be_are_refused_in_the_form(
    admin: FlaskClient, connect: Callable[..., str], minutes: str
) -> None:
    connection_id = connect()
    row = connection(connection_id)
    before = row.poll_minutes
    form = {name: getattr(row, name) for name in ("name", *airtable_settings.CHOICES)}
    answer = post(admin, f"/admin/airtable/setup/settings/{connection_id}", **form, poll_minutes=minutes)
    assert answer.status_code == 422 and "1440" in answer.text
    assert connection(connection_id).poll_minutes == before


def test_buttons_pause_resume_compare_and_write_one_lead(
    admin: FlaskClient, connect: Callable[..., str], table: Table
) -> None:
    lead = keep()
    connection_id = connect()
    push()
    post(admin, f"/admin/airtable/pause/{connection_id}")
    assert connection(connection_id).state == "paused"
    post(admin, f"/admin/airtable/start/{connection_id}")
    assert connection(connection_id).state == "active"
    post(admin, f"/admin/airtable/resync/{connection_id}")
    found = link(lead.id)
    assert found is not None and found.due_at is not None
    push()
    answer = post(admin, f"/admin/airtable/lead/{lead.id}", lead=lead.id)
    assert answer.location == f"/admin/leads/show/{lead.id}"
    found = link(lead.id)
    assert found is not None and found.due_at is not None
    post(admin, f"/admin/airtable/remove/{connection_id}")
    db.session.rollback()
    assert queries.connections() == []
    assert len(living()) == len(table.rows()) == 1


def test_a_button_says_so_when_there_is_nothing_to_do(
    admin: FlaskClient, connect: Callable[..., str]
) -> None:
    lead = keep()
    with transaction():
        draft = airtable_settings.add_connection(name="Draft", stand_in=True).id
    for button in ("pause", "resync"):
        assert post(admin, f"/admin/airtable/{button}/{draft}").status_code == 302
        assert "no se mantiene sincronizada" in notice(admin)
    assert connection(draft).next_pull_at is None and link(lead.id) is None
    assert post(admin, f"/admin/airtable/lead/{lead.id}").status_code == 302
    assert "No hay ninguna tabla conectada" in notice(admin)
    assert link(lead.id) is None
    paused = connect()
    post(admin, f"/admin/airtable/pause/{paused}")
    assert "En pausa" in notice(admin)
    post(admin, f"/admin/airtable/lead/{lead.id}")
    assert "en cuanto una tabla vuelva a sincronizarse" in notice(admin)


def test_a_conflict_is_listed_and_turned_round_with_one_click(
    admin: FlaskClient, connect: Callable[..., str], table: Table, clock: Clock
) -> None:
    lead = keep()
    connect()
    push()
    with transaction():
        commands.change_lead(lead.id, {"company": "Our name"}, by=SYSTEM)
    clock.now += 60
    table.edit(table.rows()[0]["record"], company="Their name")
    pull()
    page = admin.get("/admin/airtable/").text
    assert "Our name" in page and "Their name" in page
    clash = db.session.scalars(select(AirtableConflict)).one()
    post(admin, f"/admin/airtable/conflict/{clash.id}/ours")
    assert living()[0].company == "Our name"
    assert "Their name" not in admin.get("/admin/airtable/").text
    again = post(admin, f"/admin/airtable/conflict/{clash.id}/airtable")
    assert again.status_code == 302 and "Esto ya se decidió." in notice(admin)
    assert living()[0].company == "Our name"
    unknown = post(admin, f"/admin/airtable/conflict/{lead.id}/ours")
    assert unknown.status_code == 404


def test_blocked_leads_and_stopped_tables_say_why_in_plain_words(
    admin: FlaskClient, connect: Callable[..., str], table: Table
) -> None:
    lead = keep(name="Bad", tags=["unheard of"])
    connect(create_options=False)
    push()
    english = {"Accept-Language": "en"}
    assert "no such choice" in admin.get("/admin/airtable/", headers=english).text
    assert "no such choice" in admin.get(f"/admin/leads/show/{lead.id}", headers=english).text
    table.store.drop_table("tblEmbudoLeads000")
    pull(full=True)
    assert "not in the base any more" in admin.get("/admin/airtable/", headers=english).text
    assert "not in the base any more" in admin.get("/", headers=english).text


def test_rules_are_saved_as_they_were_numbered(admin: FlaskClient, connect: Callable[..., str]) -> None:
    connection_id = connect()
    answer = post(
        admin, "/admin/airtable/setup/routes",
        **{
            "r.0.target": connection_id, "r.0.position": "2",
            "r.1.target": connection_id, "r.1.position": "1",
            "r.1.0.field": "amount", "r.1.0.operator": "greater", "r.1.0.value": "1000",
            "r.1.1.field": "custom", "r.1.1.custom": "city", "r.1.1.operator": "is_set",
            "r.2.target": "",
        },
    )  # fmt: skip
    assert answer.status_code == 302, answer.text
    assert [row.conditions for row in queries.routes()] == [
        [
            {"field": "amount", "operator": "greater", "value": "1000"},
            {"field": "custom.city", "operator": "is_set", "value": ""},
        ],
        [],
    ]
    wrong = post(
        admin, "/admin/airtable/setup/routes", **{"r.0.target": connection_id, "r.0.0.field": "amount"}
    )
    assert wrong.status_code == 422


@pytest.mark.parametrize(
    ("host", "url", "offered"),
    [
        ("127.0.0.1", None, True),
        ("0.0.0.0", None, False),
        ("0.0.0.0", "http://web:8080/stand-in/airtable", True),
    ],
)
def test_the_stand_in_is_offered_only_where_workers_can_reach_it(
    app: Flask,
    admin: FlaskClient,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    url: str | None,
    offered: bool,
) -> None:
    monkeypatch.setitem(app.extensions, "embudo_config", replace(app.extensions["embudo_config"], host=host))
    monkeypatch.setitem(app.config, "AIRTABLE_STAND_IN_URL", url)
    assert ('name="stand_in"' in admin.get("/admin/airtable/setup/new").text) is offered
    told = admin.get(f"{queries.STAND_IN_PATH}/v0/meta/bases").status_code
    assert told == (401 if offered else 404)
    assert ("a table in the local stand-in for Airtable" in demo.load_demo()) is offered


def test_the_stand_in_is_closed_to_strangers_and_gone_once_there_is_a_token(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{queries.STAND_IN_PATH}/v0/meta/bases"
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"Authorization": "Bearer patWrong"}).status_code == 401
    with app.app_context():
        token = queries.stand_in_token()
    assert client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    monkeypatch.setitem(app.config, "AIRTABLE_API_KEY", "patReal")
    assert client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 404
