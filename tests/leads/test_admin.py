"""The screens of leads: every one opens, writes through the commands, and shows a seller only their own."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest

from app.kit.auth import SYSTEM
from app.kit.db import new_id, own_context, transaction
from app.leads import commands, demo
from app.leads.admin.export import harmless
from tests.leads.people import ANN, keep, living, published, seller, timeline


def token(page: Any) -> str:
    """The page's CSRF token."""
    found = re.search(r'name="csrf-token" content="([^"]+)"', page.text)
    assert found, page.text[:500]
    return found.group(1)


def post(browser: Any, path: str, **form: Any) -> Any:
    """Send a form as the browser does, and follow where it leads."""
    form["csrf_token"] = token(browser.get("/admin/leads/list/"))
    return browser.post(path, data=form, follow_redirects=True)


def the_form(**values: str) -> dict[str, str]:
    return {
        "name": "", "company": "", "email": "", "phone": "", "stage_key": "new", "owner_id": "", "amount": "",
        "currency": "EUR", "language": "es", "next_contact_on": "", "tag_names": "", "notes": "", **values,
    }  # fmt: skip


def test_every_screen_opens_in_both_languages(admin: Any) -> None:
    demo.load_demo()
    lead = living()[0]
    for path in (
        "/admin/leads/list/",
        "/admin/leads/list/?q=alvaro&f.stage_key=contacted&f.source=demo&f.owner_id=1",
        "/admin/leads/add",
        f"/admin/leads/show/{lead.id}",
        f"/admin/leads/edit/{lead.id}",
        "/admin/board/",
        "/admin/board/?q=alvaro&owner=0",
        "/admin/stages/list/",
        "/admin/stages/add",
        "/admin/stages/edit/won",
        "/admin/leads/export.csv",
    ):
        for language in ("es", "en"):
            answer = admin.get(path, headers={"Accept-Language": language})
            assert answer.status_code == 200, (path, answer.text[:300])


def test_the_form_makes_a_lead_through_the_command(admin: Any) -> None:
    form = the_form(
        name="Lucía", email="LUCIA@Example.com", phone="600 000 012", amount="1200.50", tag_names="VIP, feria",
        stage_key="contacted", next_contact_on="2027-01-02", notes="Hola", company="Espiga",
    )  # fmt: skip
    answer = post(admin, "/admin/leads/add", **form)
    assert answer.status_code == 200
    [lead] = living()
    assert (lead.name, lead.email, lead.phone) == ("Lucía", "LUCIA@example.com", "+34600000012")
    assert (str(lead.amount), lead.stage_key, lead.tag_names, lead.source) == (
        "1200.50", "contacted", "feria, VIP", "manual"
    )  # fmt: skip
    assert str(lead.next_contact_on) == "2027-01-02"
    assert published("lead.created")[0]["source"] == "manual"
    assert "Lucía" in answer.text


def test_problems_stand_in_the_form_and_nothing_is_stored(admin: Any) -> None:
    answer = post(admin, "/admin/leads/add", **the_form(name="A", email="nobody", phone="12"))
    assert answer.status_code == 422
    assert "nobody is not" in answer.text or "nobody no es" in answer.text
    assert living() == []


def test_an_edit_changes_only_what_differs(admin: Any) -> None:
    lead = keep(**ANN, tags=["vip"], custom={"size": 3})
    form = the_form(name="Ann B", email=ANN["email"], phone=ANN["phone"], tag_names="vip", _version="1")
    answer = post(admin, f"/admin/leads/edit/{lead.id}", **form)
    assert answer.status_code == 200
    [after] = living()
    assert (after.name, after.version, after.custom) == ("Ann B", 2, {"size": 3})
    assert published("lead.updated")[0]["changes"] == {"name": "Ann B"}


def test_an_edit_of_an_old_version_is_told_and_changes_nothing(admin: Any) -> None:
    lead = keep()
    with own_context(), transaction():
        commands.change_lead(lead.id, {"company": "X"}, by=SYSTEM)
    answer = post(admin, f"/admin/leads/edit/{lead.id}", **the_form(name="Late", _version="1"))
    assert answer.status_code == 422
    assert living()[0].name == "Ann Smith"


def test_the_cards_quick_actions(admin: Any) -> None:
    lead = keep()
    post(admin, f"/admin/leads/move/{lead.id}", stage="won")
    post(admin, f"/admin/leads/assign_to/{lead.id}", owner="1")
    post(admin, f"/admin/leads/note/{lead.id}", text="Called <b>twice</b>.")
    assert timeline(lead.id) == ["created", "stage_changed", "assigned", "note"]
    page = admin.get(f"/admin/leads/show/{lead.id}").text
    assert "Called &lt;b&gt;twice&lt;/b&gt;." in page
    [after] = living()
    assert (after.stage_key, after.owner_name) == ("won", "admin")


def test_a_bad_quick_action_is_a_notice(admin: Any) -> None:
    lead = keep()
    assert post(admin, f"/admin/leads/move/{lead.id}", stage="nowhere").status_code == 200
    assert post(admin, f"/admin/leads/note/{lead.id}", text=" ").status_code == 200
    assert timeline(lead.id) == ["created"]


def test_delete_offers_undo(admin: Any) -> None:
    lead = keep()
    page = post(admin, f"/admin/leads/delete/{lead.id}")
    assert f"/admin/leads/restore/{lead.id}" in page.text
    assert living() == []
    post(admin, f"/admin/leads/restore/{lead.id}")
    assert [row.id for row in living()] == [lead.id]


def test_an_undo_of_nothing_is_404(admin: Any) -> None:
    for lead_id in (new_id(), "nonsense"):
        assert post(admin, f"/admin/leads/restore/{lead_id}").status_code == 404


def test_bulk_actions_ask_first_and_go_through_the_commands(admin: Any) -> None:
    ids = [keep(name=f"Lead {number}").id for number in range(3)]
    page = post(admin, "/admin/leads/action_post", action="move_stage", rowid=ids[:2])
    assert page.status_code == 200
    assert ids[0] in page.text
    assert (
        "2 prospectos cambiados."
        in post(admin, "/admin/leads/bulk", what="move_stage", value="won", rowid=ids[:2]).text
    )
    assert (
        "1 prospecto cambiado."
        in post(admin, "/admin/leads/bulk", what="move_stage", value="won", rowid=ids[:1]).text
    )
    assert [lead.stage_key for lead in living()] == ["won", "won", "new"]
    post(admin, "/admin/leads/bulk", what="assign", value="1", rowid=ids)
    assert {lead.owner_name for lead in living()} == {"admin"}
    post(admin, "/admin/leads/action_post", action="delete_all", rowid=ids[:1])
    assert [lead.id for lead in living()] == ids[1:]
    assert post(admin, "/admin/leads/bulk", what="explode", value="", rowid=ids).status_code == 404


def test_the_board_carries_what_its_island_needs(admin: Any) -> None:
    lead = keep(name="Ann", amount=5)
    page = admin.get("/admin/board/").text
    assert f'data-url="/leads/{lead.id}"' in page
    assert "data-etag='\"1\"'" in page
    answer = admin.patch(
        f"/leads/{lead.id}",
        json={"stage": "won"},
        headers={"If-Match": '"1"', "X-CSRFToken": token(admin.get("/admin/board/"))},
    )
    assert answer.status_code == 200
    assert living()[0].stage_key == "won"


def test_the_session_needs_the_csrf_header_for_changes(admin: Any) -> None:
    lead = keep()
    answer = admin.patch(f"/leads/{lead.id}", json={"stage": "won"}, headers={"If-Match": '"1"'})
    assert answer.status_code == 403
    assert living()[0].stage_key == "new"


def test_the_export_is_the_filtered_list(admin: Any) -> None:
    keep(name="Álvaro", phone="600 000 012", tags=["a", "b"], amount=3)
    keep(name="=cmd()", stage="won")
    rows = list(csv.DictReader(io.StringIO(admin.get("/admin/leads/export.csv").text.lstrip("\ufeff"))))
    assert [row["name"] for row in rows] == ["'=cmd()", "Álvaro"]
    assert (rows[1]["phone"], rows[1]["tags"], rows[1]["amount"]) == ("+34600000012", "a, b", "3.00")
    filtered = admin.get("/admin/leads/export.csv?f.stage_key=won&q=cmd").text
    assert len(list(csv.DictReader(io.StringIO(filtered)))) == 1


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_no_cell_of_the_export_is_a_formula_whatever_separates_cells(admin: Any, separator: str) -> None:
    keep(name="x;=cmd|' /C calc'!A0;y", notes='a\n=1+1\n\t@SUM(A1);" =2"|=3;"=4"')
    keep(name="＝1+1", company='x";=1')
    page = admin.get("/admin/leads/export.csv").text.lstrip("\ufeff")
    cells = [cell for row in csv.reader(io.StringIO(page), delimiter=separator) for cell in row]
    assert len(cells) > 2
    assert [cell for cell in cells if cell.lstrip(' "')[:1] in {"=", "@", "＝"}] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("＝1+1", "'＝1+1"),
        ("﹢1+A1", "'﹢1+A1"),
        (' "=1+1"', '\' "=1+1"'),
        ("\u200b=1+1", "'\u200b=1+1"),
        ("x;=1;y", "x;'=1;y"),
        ("x\t=1", "x\t'=1"),
        ("x\n- one\n- 2", "x\n'- one\n- 2"),
        ("a=b; +34 600;c", "a=b; +34 600;c"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+34 600 000 012", "+34 600 000 012"),
        ("-5.00", "-5.00"),
        ("+cmd", "'+cmd"),
        ("-cmd", "'-cmd"),
        ("\tx", "'\tx"),
        ("plain", "plain"),
    ],
)
def test_a_cell_is_never_a_formula(text: str, expected: str) -> None:
    assert harmless(text) == expected


def test_a_seller_sees_and_touches_only_their_own(logged_in: Any, app: Any) -> None:
    browser = logged_in("seller")
    me = app.appbuilder.sm.find_user("seller")
    mine, foreign = keep(by=seller(me), name="Minelead"), keep(name="Foreignlead")
    for path in ("/admin/leads/list/", "/admin/board/", "/admin/leads/export.csv"):
        page = browser.get(path).text
        assert "Minelead" in page, path
        assert "Foreignlead" not in page, path
    for path in (f"/admin/leads/show/{foreign.id}", f"/admin/leads/edit/{foreign.id}"):
        assert browser.get(path).status_code == 404
    for action, form in (
        ("move", {"stage": "won"}),
        ("note", {"text": "x"}),
        ("delete", {}),
        ("edit", the_form(name="Stolen")),
        ("assign_to", {"owner": str(me.id)}),
    ):
        assert post(browser, f"/admin/leads/{action}/{foreign.id}", **form).status_code == 404
    post(browser, "/admin/leads/bulk", what="move_stage", value="won", rowid=[foreign.id])
    post(browser, "/admin/leads/action_post", action="delete_all", rowid=[foreign.id])
    assert timeline(foreign.id) == ["created"]
    assert post(browser, f"/admin/leads/assign_to/{mine.id}", owner="1").status_code == 403
    assert post(browser, "/admin/leads/bulk", what="assign", value="1", rowid=[mine.id]).status_code == 403
    assert browser.get("/admin/stages/list/").status_code in (302, 403)
    with own_context(), transaction():
        commands.delete_lead(foreign.id, by=SYSTEM)
    assert post(browser, f"/admin/leads/restore/{foreign.id}").status_code == 404


def test_a_seller_adds_a_lead_of_their_own(logged_in: Any, app: Any) -> None:
    browser = logged_in("seller")
    post(browser, "/admin/leads/add", **the_form(name="Nueva"))
    assert living()[0].owner_id == app.appbuilder.sm.find_user("seller").id


def test_a_viewer_reads_and_changes_nothing(logged_in: Any) -> None:
    lead = keep()
    browser = logged_in("viewer")
    page = browser.get(f"/admin/leads/show/{lead.id}")
    assert page.status_code == 200
    assert "/admin/leads/move/" not in page.text
    assert "data-readonly" in browser.get("/admin/board/").text
    post(browser, f"/admin/leads/move/{lead.id}", stage="won")
    post(browser, f"/admin/leads/delete/{lead.id}")
    assert timeline(lead.id) == ["created"]


def test_stages_are_edited_through_their_commands(admin: Any) -> None:
    form = {
        "name_es": "Visita",
        "name_en": "Visit",
        "key": "visit",
        "kind": "open",
        "colour": "#112233",
        "position": "2",
    }
    post(admin, "/admin/stages/add", **form)
    assert "Visita" in admin.get("/admin/stages/list/", headers={"Accept-Language": "es"}).text
    keep(name="A", stage="visit")
    post(admin, "/admin/stages/delete/visit")
    assert living()[0].stage_key == "visit"


def test_the_list_and_the_board_ask_no_question_per_row(admin: Any, app: Any) -> None:
    from sqlalchemy import event

    from app.kit.db import engine_of

    demo.load_demo()

    def questions(path: str) -> int:
        count = 0

        def note(*_: Any) -> None:
            nonlocal count
            count += 1

        event.listen(engine_of("leads"), "before_cursor_execute", note)
        try:
            assert admin.get(path).status_code == 200
        finally:
            event.remove(engine_of("leads"), "before_cursor_execute", note)
        return count

    for path in ("/admin/leads/list/", "/admin/board/"):
        assert questions(path) <= 16, path


def test_the_home_page_counts_leads(admin: Any) -> None:
    demo.load_demo()
    page = admin.get("/", follow_redirects=True)
    assert page.status_code == 200
