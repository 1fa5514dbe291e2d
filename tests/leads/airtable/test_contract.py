"""What the adapter and the stand-in must agree on: the shapes and limits of Airtable's documented API.

The stand-in is asked in raw HTTP, as the documents write requests, and through the adapter; both must tell the same.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import requests

from app.kit.errors import Misconfigured, Permanent, RateLimited, Temporary, Unknown
from app.leads.providers import OFFSET_EXPIRED, Write, is_genuine, mac
from app.leads.providers.airtable import Airtable
from app.leads.providers.fake import LEADS_BASE, StandIn
from tests.fakes.loopback import Answer, Drop
from tests.leads.airtable.conftest import COLUMN, TABLE, TOKEN, AirtableServer, Clock, Table

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def ask(server: AirtableServer, method: str, path: str, **options: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return requests.request(method, f"{server.url}/v0/{path}", headers=headers, timeout=10, **options)


def record(name: str, lead_id: str) -> dict[str, Any]:
    return {"fields": {COLUMN["name"]: name, COLUMN["id"]: lead_id}}


def upsert(
    server: AirtableServer, *records: dict[str, Any], method: str = "PATCH", **body: Any
) -> requests.Response:
    return ask(
        server,
        method,
        f"{LEADS_BASE}/{TABLE}",
        json={
            "performUpsert": {"fieldsToMergeOn": [COLUMN["id"]]},
            "records": list(records),
            "returnFieldsByFieldId": True,
            **body,
        },
    )


def error(answer: requests.Response) -> tuple[int, str]:
    said = answer.json()["error"]
    return answer.status_code, said["type"] if isinstance(said, dict) else said


def test_bases_tables_and_columns_are_read_by_id(server: AirtableServer, api: Airtable) -> None:
    body = ask(server, "GET", "meta/bases").json()
    assert body == {"bases": [{"id": LEADS_BASE, "name": "Ventas (demo)", "permissionLevel": "create"}]}
    assert [(base.id, base.name, base.writable) for base in api.bases()] == [
        (LEADS_BASE, "Ventas (demo)", True)
    ]
    table = api.tables(LEADS_BASE)[0]
    assert (table.id, table.name) == (TABLE, "Leads")
    by_id = {column.id: column for column in table.columns}
    assert by_id[COLUMN["stage"]].type == "singleSelect"
    assert "Ganado" in by_id[COLUMN["stage"]].choices
    assert by_id[COLUMN["modified"]].watches_all


def test_an_upsert_creates_then_updates_and_says_which(server: AirtableServer) -> None:
    made = upsert(server, record("Ann", "1"), record("Bea", "2")).json()
    assert [item["fields"][COLUMN["name"]] for item in made["records"]] == ["Ann", "Bea"]
    assert made["createdRecords"] == [item["id"] for item in made["records"]]
    assert made["updatedRecords"] == []
    assert ISO.fullmatch(made["records"][0]["createdTime"])
    again = upsert(server, record("Ann Smith", "1")).json()
    assert again["updatedRecords"] == [made["records"][0]["id"]]
    assert again["createdRecords"] == []


def test_the_adapter_writes_and_reads_what_it_wrote(api: Airtable, table: Table) -> None:
    cells = {COLUMN["name"]: "Ann", COLUMN["amount"]: 12.5, COLUMN["tags"]: ["vip"], COLUMN["notes"]: None}
    made = api.upsert(LEADS_BASE, TABLE, COLUMN["id"], [Write(lead_id="1", cells=cells)], typecast=True)
    assert made[0].cells[COLUMN["tags"]] == ["vip"]
    assert COLUMN["notes"] not in made[0].cells
    again = api.upsert(
        LEADS_BASE, TABLE, COLUMN["id"], [Write(lead_id="1", cells={COLUMN["name"]: "Ann S"})], typecast=True
    )
    assert again[0].id == made[0].id
    page = api.page(LEADS_BASE, TABLE, [COLUMN["name"], COLUMN["amount"]])
    assert [(item.id, item.cells) for item in page.records] == [
        (made[0].id, {COLUMN["name"]: "Ann S", COLUMN["amount"]: 12.5})
    ]
    one = api.record(LEADS_BASE, TABLE, made[0].id)
    assert (one.id, one.cells[COLUMN["name"]], one.cells[COLUMN["tags"]]) == (made[0].id, "Ann S", ["vip"])
    with pytest.raises(Permanent) as gone:
        api.record(LEADS_BASE, TABLE, "recNobody00000000")
    assert gone.value.code == "MODEL_ID_NOT_FOUND"


def test_a_record_named_by_its_id_ignores_the_merge_column(api: Airtable, table: Table) -> None:
    row = table.edit(None, name="Ann")
    api.upsert(LEADS_BASE, TABLE, COLUMN["id"], [Write(lead_id="1", cells={}, record_id=row)], typecast=True)
    assert table.rows() == [{"name": "Ann", "id": "1", "record": row}]
    with pytest.raises(Permanent) as caught:
        api.upsert(
            LEADS_BASE, TABLE, COLUMN["id"], [Write(lead_id="2", cells={}, record_id="rec0")], typecast=True
        )
    assert caught.value.code == "MODEL_ID_NOT_FOUND"


def test_a_merge_column_that_fits_two_records_fails_and_writes_nothing(
    server: AirtableServer, api: Airtable, table: Table
) -> None:
    table.edit(None, name="Ann", id="1")
    table.edit(None, name="Ann, copied", id="1")
    assert upsert(server, record("Bea", "2"), record("Ann B", "1")).status_code == 422
    assert [row["name"] for row in table.rows()] == ["Ann", "Ann, copied"]
    with pytest.raises(Permanent):
        api.upsert(LEADS_BASE, TABLE, COLUMN["id"], [Write(lead_id="1", cells={})], typecast=True)


def test_eleven_records_are_one_too_many(server: AirtableServer, api: Airtable, table: Table) -> None:
    assert upsert(server, *(record(str(n), str(n)) for n in range(11))).status_code == 422
    assert table.rows() == []
    with pytest.raises(ValueError, match="10"):
        api.upsert(
            LEADS_BASE,
            TABLE,
            COLUMN["id"],
            [Write(lead_id=str(n), cells={}) for n in range(11)],
            typecast=True,
        )


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("amount", "a lot", "INVALID_VALUE_FOR_COLUMN"),
        ("name", 12, "INVALID_VALUE_FOR_COLUMN"),
        ("modified", "2026-01-01", "INVALID_VALUE_FOR_COLUMN"),
        ("next_contact_on", "tomorrow", "INVALID_VALUE_FOR_COLUMN"),
        ("stage", "Otra", "INVALID_MULTIPLE_CHOICE_OPTIONS"),
        ("tags", "vip", "INVALID_VALUE_FOR_COLUMN"),
        ("fldNowhere0000000", "x", "UNKNOWN_FIELD_NAME"),
    ],
)
def test_a_bad_cell_refuses_the_whole_call_in_airtables_words(
    server: AirtableServer, api: Airtable, table: Table, name: str, value: Any, kind: str
) -> None:
    column = COLUMN.get(name, name)
    bad = {"fields": {COLUMN["id"]: "2", column: value}}
    answer = upsert(server, record("Ann", "1"), bad)
    assert error(answer) == (422, kind)
    assert answer.json()["error"]["message"]
    assert table.rows() == []
    with pytest.raises(Permanent) as caught:
        api.upsert(
            LEADS_BASE, TABLE, COLUMN["id"], [Write(lead_id="2", cells={column: value})], typecast=False
        )
    assert caught.value.code == kind


def test_typecast_adds_missing_choices(server: AirtableServer, api: Airtable) -> None:
    made = upsert(server, {"fields": {COLUMN["id"]: "1", COLUMN["stage"]: "Otra"}}, typecast=True)
    assert made.status_code == 200
    by_id = {column.id: column for column in api.tables(LEADS_BASE)[0].columns}
    assert "Otra" in by_id[COLUMN["stage"]].choices


def test_put_clears_what_is_not_sent_and_patch_does_not(server: AirtableServer, table: Table) -> None:
    row = table.edit(None, name="Ann", notes="kept", id="1")
    upsert(server, record("Ann B", "1"))
    assert table.rows()[0]["notes"] == "kept"
    upsert(server, record("Ann C", "1"), method="PUT")
    assert table.rows() == [{"name": "Ann C", "id": "1", "record": row}]


def test_a_page_has_a_hundred_records_and_an_offset(api: Airtable, table: Table) -> None:
    for number in range(205):
        table.edit(None, name=f"P{number}")
    sizes, offset = [], None
    while True:
        page = api.page(LEADS_BASE, TABLE, [COLUMN["name"]], offset=offset)
        sizes.append(len(page.records))
        offset = page.offset
        if offset is None:
            break
    assert sizes == [100, 100, 5]


def test_an_offset_is_forgotten_after_some_minutes(api: Airtable, table: Table, clock: Clock) -> None:
    for number in range(101):
        table.edit(None, name=f"P{number}")
    offset = api.page(LEADS_BASE, TABLE, [COLUMN["name"]]).offset
    clock.now += 200
    assert len(api.page(LEADS_BASE, TABLE, [COLUMN["name"]], offset=offset).records) == 1
    clock.now += 200
    for wrong in (offset, "itrNowhere"):
        with pytest.raises(Permanent) as caught:
            api.page(LEADS_BASE, TABLE, [COLUMN["name"]], offset=wrong)
        assert caught.value.code == OFFSET_EXPIRED


def test_only_records_changed_after_a_moment_are_listed(
    server: AirtableServer, api: Airtable, table: Table, clock: Clock
) -> None:
    table.edit(None, name="before")
    clock.now += 10
    page = api.page(LEADS_BASE, TABLE, [COLUMN["modified"]])
    since = page.records[0].cells[COLUMN["modified"]]
    assert ISO.fullmatch(since)
    clock.now += 10
    table.edit(None, name="after")
    found = api.page(LEADS_BASE, TABLE, [COLUMN["name"]], changed_since=("Última modificación", since))
    assert [item.cells for item in found.records] == [{COLUMN["name"]: "after"}]
    with pytest.raises(Permanent) as caught:
        api.page(LEADS_BASE, TABLE, [COLUMN["name"]], changed_since=("Renamed", since))
    assert caught.value.code == "INVALID_FILTER_BY_FORMULA"


def test_deleting_takes_ten_at_most_and_misses_what_is_not_there(
    server: AirtableServer, api: Airtable, table: Table
) -> None:
    rows = [table.edit(None, name=str(n)) for n in range(11)]
    many = ask(server, "DELETE", f"{LEADS_BASE}/{TABLE}", params={"records[]": rows})
    assert many.status_code == 422
    api.delete(LEADS_BASE, TABLE, rows[:10])
    assert len(table.rows()) == 1
    with pytest.raises(Permanent) as caught:
        api.delete(LEADS_BASE, TABLE, rows[:1])
    assert caught.value.code == "MODEL_ID_NOT_FOUND"


def test_the_sixth_call_of_a_second_closes_the_base_for_half_a_minute(
    server: AirtableServer, api: Airtable, clock: Clock
) -> None:
    clock.step = 0.0
    answers = [ask(server, "GET", f"{LEADS_BASE}/{TABLE}").status_code for _ in range(6)]
    assert answers == [200, 200, 200, 200, 200, 429]
    said = ask(server, "GET", f"{LEADS_BASE}/{TABLE}")
    assert said.json()["errors"][0]["error"] == "RATE_LIMIT_REACHED"
    clock.now += 29
    with pytest.raises(RateLimited) as caught:
        api.page(LEADS_BASE, TABLE, [COLUMN["name"]])
    assert caught.value.retry_after == 30
    clock.now += 2
    assert api.page(LEADS_BASE, TABLE, [COLUMN["name"]]).records == []
    assert server.stand_in.refused == 3


def test_bases_have_a_limit_each(server: AirtableServer, stand_in: StandIn, clock: Clock) -> None:
    clock.step = 0.0
    stand_in.store.add_base("appOther000000000", "Other")
    stand_in.store.put_table("appOther000000000", "tblOther000000000", "T", [])
    for _ in range(6):
        ask(server, "GET", f"{LEADS_BASE}/{TABLE}")
    assert ask(server, "GET", "appOther000000000/tblOther000000000").status_code == 200


def test_tokens_permissions_and_wrong_addresses(server: AirtableServer, stand_in: StandIn) -> None:
    with pytest.raises(Misconfigured):
        Airtable("patWrong", endpoint=server.url).bases()
    none = requests.get(f"{server.url}/v0/meta/bases", timeout=5)
    assert error(none) == (401, "AUTHENTICATION_REQUIRED")
    api = Airtable(TOKEN, endpoint=server.url)
    with pytest.raises(Permanent) as caught:
        api.tables("appNowhere0000000")
    assert caught.value.code == "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND"
    assert ask(server, "GET", f"{LEADS_BASE}/tblNowhere000000").status_code == 403
    assert error(ask(server, "GET", "nowhere")) == (404, "NOT_FOUND")
    stand_in.store.add_base(LEADS_BASE, "Ventas", permission="read")
    assert api.page(LEADS_BASE, TABLE, [COLUMN["name"]]).records == []
    with pytest.raises(Misconfigured) as refused:
        api.upsert(LEADS_BASE, TABLE, COLUMN["id"], [Write(lead_id="1", cells={})], typecast=True)
    assert refused.value.code == "INVALID_PERMISSIONS"


def test_a_webhook_lives_a_week_and_tells_in_numbered_pages(
    server: AirtableServer, api: Airtable, table: Table, clock: Clock, pings: list[Any]
) -> None:
    hook = api.create_webhook(LEADS_BASE, TABLE, "https://here.example.com/ping")
    assert hook.secret
    row = table.edit(None, name="Ann", stage="Nuevo")
    table.edit(row, stage="Ganado", name=None)
    table.remove(row)
    found = api.changes(LEADS_BASE, hook.id, TABLE, 1)
    assert (found.first, found.cursor, found.more, len(found.items)) == (1, 4, False, 3)
    created, changed, gone = found.items
    assert created.created[row][COLUMN["stage"]]["name"] == "Nuevo"
    assert changed.changed[row][COLUMN["name"]] is None
    assert changed.changed[row][COLUMN["stage"]]["name"] == "Ganado"
    assert set(changed.edited[row]) == {COLUMN["name"], COLUMN["stage"]}
    assert list(gone.destroyed) == [row]
    assert api.changes(LEADS_BASE, hook.id, TABLE, 4).items == []
    ping = pings[0]
    assert json.loads(ping.body)["webhook"] == {"id": hook.id}
    assert is_genuine(hook.secret, ping.body, ping.mac)
    assert not is_genuine(hook.secret, ping.body + b" ", ping.mac)
    for _ in range(60):
        table.edit(None, name="many")
    page = api.changes(LEADS_BASE, hook.id, TABLE, 4)
    assert (len(page.items), page.more, page.cursor) == (50, True, 54)
    clock.now += 8 * 86_400
    assert not api.webhooks(LEADS_BASE)[0].enabled
    table.edit(None, name="unheard")
    assert api.changes(LEADS_BASE, hook.id, TABLE, 64).items == []
    api.delete_webhook(LEADS_BASE, hook.id)
    with pytest.raises(Permanent) as caught:
        api.changes(LEADS_BASE, hook.id, TABLE, 1)
    assert caught.value.code == "NOT_FOUND"


def test_reading_or_refreshing_prolongs_a_webhook(api: Airtable, clock: Clock) -> None:
    hook = api.create_webhook(LEADS_BASE, TABLE, "")
    clock.now += 6 * 86_400
    api.changes(LEADS_BASE, hook.id, TABLE, 1)
    clock.now += 6 * 86_400
    assert api.webhooks(LEADS_BASE)[0].enabled
    assert api.refresh_webhook(LEADS_BASE, hook.id) > hook.expires_at  # type: ignore[operator]
    clock.now += 6 * 86_400
    assert api.webhooks(LEADS_BASE)[0].enabled


def test_an_eleventh_webhook_is_refused(api: Airtable) -> None:
    for _ in range(10):
        api.create_webhook(LEADS_BASE, TABLE, "")
    with pytest.raises(Permanent):
        api.create_webhook(LEADS_BASE, TABLE, "")


@pytest.mark.parametrize(
    ("plan", "kind", "code"),
    [
        (Answer(status=503, body={}), Temporary, "503"),
        (Answer(status=500, body=b"<html>"), Unknown, "500"),
        (Answer(status=502, body=b""), Unknown, "502"),
        (Answer(status=413, body={"error": {"type": "REQUEST_TOO_LARGE"}}), Permanent, "REQUEST_TOO_LARGE"),
        (Answer(status=404, body={"error": "NOT_FOUND"}), Permanent, "NOT_FOUND"),
        (Answer(status=429, body={"errors": []}, headers={"Retry-After": "1"}), RateLimited, "429"),
        (Answer(status=200, body=b"no json"), Unknown, "unreadable"),
        (
            Answer(status=200, body={"records": [], "createdRecords": [], "updatedRecords": []}),
            Unknown,
            "incomplete",
        ),
        (Drop(), Unknown, "no_answer"),
    ],
)
def test_what_failures_mean(
    server: AirtableServer, api: Airtable, plan: Any, kind: type[Exception], code: str
) -> None:
    server.plan(plan)
    before = len(server.requests)
    with pytest.raises(kind) as caught:
        api.upsert(LEADS_BASE, TABLE, COLUMN["id"], [Write(lead_id="1", cells={})], typecast=True)
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert len(server.requests) == before + 1, "a write is sent once"


def test_nobody_listening_is_temporary() -> None:
    with pytest.raises(Temporary) as caught:
        Airtable(TOKEN, endpoint="http://127.0.0.1:9").bases()
    assert caught.value.code == "connect"


def test_the_mac_is_over_the_exact_bytes_in_hex() -> None:
    secret = "c2VjcmV0IG9mIGEgd2ViaG9vaw=="
    body = b'{"base":{"id":"app"},"webhook":{"id":"ach"},"timestamp":"2026-01-01T00:00:00.000Z"}'
    header = mac(secret, body)
    assert re.fullmatch(r"hmac-sha256=[0-9a-f]{64}", header)
    assert is_genuine(secret, body, header)
    for wrong in (
        "",
        header.upper(),
        header[:-1],
        header.removeprefix("hmac-sha256="),
        "hmac-sha256=" + "0" * 64,
    ):
        assert not is_genuine(secret, body, wrong)
    assert not is_genuine("", body, header)
    assert not is_genuine("not base64!", body, header)
