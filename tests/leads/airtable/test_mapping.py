"""Cells, directions, proposals and rules, as tables of cases."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.leads import mapping
from app.leads.mapping import Column, Condition, Mapped, Rule


def pair(field: str, kind: str, **more: Any) -> Mapped:
    return Mapped(field=field, column="fld1", column_name="Column", type=kind, **more)


OUT = [
    ("name", "singleLineText", "Ann", "Ann"),
    ("name", "singleLineText", "", None),
    ("notes", "multilineText", "a\nb", "a\nb"),
    ("email", "email", "ann@example.com", "ann@example.com"),
    ("phone", "phoneNumber", "+34600000012", "+34600000012"),
    ("custom.site", "url", "https://example.com", "https://example.com"),
    ("amount", "currency", "1200.00", 1200),
    ("amount", "number", "1200.50", 1200.5),
    ("amount", "singleLineText", "1200.50", "1200.50"),
    ("amount", "number", None, None),
    ("stage", "singleSelect", "won", "Ganado"),
    ("stage", "singleSelect", "own", "own"),
    ("tags", "multipleSelects", ["VIP", "web"], ["VIP", "web"]),
    ("tags", "singleLineText", ["VIP", "web"], "VIP, web"),
    ("tags", "multipleSelects", [], None),
    ("next_contact_on", "date", "2026-12-24", "2026-12-24"),
    ("next_contact_on", "dateTime", "2026-12-24", "2026-12-24T00:00:00.000Z"),
    ("created_at", "dateTime", "2026-12-24T10:30:00+02:00", "2026-12-24T08:30:00.000Z"),
    ("created_at", "date", "2026-12-24T00:30:00+02:00", "2026-12-23"),
    ("custom.vip", "checkbox", True, True),
    ("custom.vip", "checkbox", "sí", True),
    ("custom.vip", "checkbox", None, False),
    ("custom.seats", "number", 3, 3),
    ("custom.seats", "number", "3.5", 3.5),
]


@pytest.mark.parametrize(("field", "kind", "value", "cell"), OUT)
def test_a_value_becomes_the_cell_its_column_takes(field: str, kind: str, value: Any, cell: Any) -> None:
    options = {"won": "Ganado"} if field == "stage" else {}
    cells, problems = mapping.to_airtable({field: value}, [pair(field, kind, options=options)])
    assert problems == []
    assert cells == {"fld1": cell}


@pytest.mark.parametrize(
    ("name", "field", "value", "cell"),
    [
        ("America/Mexico_City", "created_at", "2026-03-02T01:30:00+00:00", "2026-03-01"),
        ("Asia/Kolkata", "created_at", "2026-03-01T18:30:00+00:00", "2026-03-02"),
        ("America/Mexico_City", "next_contact_on", "2026-03-02", "2026-03-02"),
        ("Asia/Kolkata", "next_contact_on", "2026-03-02", "2026-03-02"),
    ],
)
def test_a_column_for_days_takes_the_day_that_a_moment_is_in_the_zone(
    name: str, field: str, value: str, cell: str
) -> None:
    cells, problems = mapping.to_airtable({field: value}, [pair(field, "date")], zone=ZoneInfo(name))
    assert (cells, problems) == ({"fld1": cell}, [])


def test_a_moment_whose_day_in_the_zone_is_beyond_the_last_is_told() -> None:
    late = {"custom.day": "9999-12-31T23:00:00+00:00"}
    cells, problems = mapping.to_airtable(late, [pair("custom.day", "date")], zone=ZoneInfo("Asia/Kolkata"))
    assert (cells, [item.code for item in problems]) == ({}, ["unwritable"])


@pytest.mark.parametrize(
    ("field", "kind", "value"),
    [
        ("custom.seats", "number", "three"),
        ("custom.seats", "number", "NaN"),
        ("custom.seats", "number", True),
        ("custom.day", "date", "some day"),
        ("custom.day", "dateTime", "0001-01-01T00:00:00+09:00"),  # the year before the first
        ("notes", "multilineText", "x" * 100_001),
    ],
)
def test_a_value_that_its_column_cannot_hold_is_told(field: str, kind: str, value: Any) -> None:
    cells, problems = mapping.to_airtable({field: value}, [pair(field, kind)])
    assert cells == {}
    assert [(item.where, item.params["column"]) for item in problems] == [(f"/{field}", "Column")]


@pytest.mark.parametrize(
    "kind",
    ["formula", "rollup", "multipleLookupValues", "createdTime", "autoNumber", "lastModifiedTime", "count"],
)
def test_what_airtable_computes_is_never_written(kind: str) -> None:
    assert mapping.to_airtable({"name": "Ann"}, [pair("name", kind)]) == ({}, [])
    assert not pair("name", kind).goes_out


IN = [
    ("name", "singleLineText", "  Ann ", "Ann"),
    ("name", "singleLineText", None, ""),
    ("name", "formula", 12.0, "12"),
    ("name", "rollup", ["a", "b"], "a, b"),
    ("amount", "currency", 12.5, "12.50"),
    ("amount", "rollup", [12.5], "12.50"),
    ("amount", "singleLineText", "12.5", "12.50"),
    ("amount", "currency", None, None),
    ("stage", "singleSelect", "ganado", "won"),
    ("stage", "singleSelect", {"id": "sel1", "name": "Ganado", "color": "green"}, "won"),
    ("stage", "singleSelect", "Otra", "Otra"),
    ("stage", "singleSelect", None, None),
    ("tags", "multipleSelects", ["a", {"id": "sel2", "name": "b"}], ["a", "b"]),
    ("tags", "singleLineText", "a, b,", ["a", "b"]),
    ("tags", "multipleSelects", None, []),
    ("next_contact_on", "date", "2026-12-24", "2026-12-24"),
    ("next_contact_on", "dateTime", "2026-12-24T10:00:00.000Z", "2026-12-24"),
    ("custom.vip", "checkbox", True, True),
    ("custom.vip", "checkbox", None, False),
    ("custom.code", "barcode", {"text": "4006381333931"}, "4006381333931"),
    ("custom.who", "createdBy", {"id": "usr1", "email": "a@example.com", "name": "Ana"}, "Ana"),
    ("custom.seats", "number", 3, 3),
    ("custom.tags", "multipleSelects", ["a", "b"], "a, b"),
]


@pytest.mark.parametrize(("field", "kind", "cell", "value"), IN)
def test_a_cell_becomes_the_leads_value(field: str, kind: str, cell: Any, value: Any) -> None:
    options = {"won": "Ganado"} if field == "stage" else {}
    cells = {} if cell is None else {"fld1": cell}
    values, problems = mapping.from_airtable(cells, [pair(field, kind, options=options)])
    assert problems == []
    assert values == {field: value}


@pytest.mark.parametrize("cell", [{"specialValue": "NaN"}, {"error": "#ERROR!"}, float("nan"), float("inf")])
def test_a_formula_that_failed_says_nothing(cell: Any) -> None:
    assert mapping.from_airtable({"fld1": cell}, [pair("amount", "formula")]) == ({}, [])


@pytest.mark.parametrize(
    ("field", "cell"),
    [
        ("amount", "a lot"),
        ("next_contact_on", "tomorrow"),
        ("next_contact_on", "0001-01-01T00:00:00+09:00"),
        ("amount", [1, 2]),
        ("name", {"id": "usr"}),
    ],
)
def test_a_cell_that_is_none_for_the_field_is_told_and_changes_nothing(field: str, cell: Any) -> None:
    values, problems = mapping.from_airtable({"fld1": cell}, [pair(field, "formula")])
    assert values == {}
    assert [item.code for item in problems] == ["unreadable"]


def test_a_column_without_a_cell_is_empty_unless_only_changes_were_told() -> None:
    assert mapping.from_airtable({}, [pair("name", "singleLineText")]) == ({"name": ""}, [])
    assert mapping.from_airtable({}, [pair("name", "singleLineText")], partial=True) == ({}, [])
    assert mapping.from_airtable({"fld1": None}, [pair("name", "singleLineText")], partial=True) == (
        {"name": ""},
        [],
    )


def test_a_table_is_proposed_by_names_and_types_in_either_language() -> None:
    table = [
        Column(id="f1", name="Nombre", type="singleLineText"),
        Column(id="f2", name="E-Mail", type="email"),
        Column(id="f3", name="Móvil", type="phoneNumber"),
        Column(id="f4", name="ESTADO", type="singleSelect", choices=("nuevo", "Ganado!", "Perdido")),
        Column(id="f5", name="Deal value", type="currency"),
        Column(id="f6", name="Owner", type="singleCollaborator"),
        Column(id="f7", name="Lead ID", type="singleLineText"),
        Column(id="f8", name="Changed", type="lastModifiedTime", watches_all=False),
        Column(id="f9", name="Modified", type="lastModifiedTime"),
        Column(id="f10", name="Tags", type="formula"),
        Column(id="f11", name="Created", type="createdTime"),
    ]
    pairs, id_column, modified = mapping.propose(
        table, stages={"new": ("Nuevo", "New"), "won": ("Ganado", "Won"), "lost": ("Perdido", "Lost")}
    )
    assert id_column == "f7"
    assert modified == "f9"
    assert {item.field: (item.column, item.direction) for item in pairs} == {
        "name": ("f1", "both"),
        "email": ("f2", "both"),
        "phone": ("f3", "both"),
        "stage": ("f4", "both"),
        "amount": ("f5", "both"),
        "tags": ("f10", "in"),
    }
    stage = next(item for item in pairs if item.field == "stage")
    assert stage.options == {"new": "nuevo", "won": "Ganado", "lost": "Perdido"}


LEAD = {"name": "José", "amount": "1500.00", "tags": ["VIP", "web"], "stage": "new", "next_contact_on": "2026-12-24",
        "company": "", "custom.city": "Málaga"}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "operator", "value", "holds"),
    [
        ("name", "equals", "jose", True),
        ("name", "not_equals", "jose", False),
        ("name", "starts_with", "JO", True),
        ("custom.city", "contains", "alag", True),
        ("custom.city", "not_contains", "alag", False),
        ("amount", "greater", "1000", True),
        ("amount", "greater", "1500", False),
        ("amount", "less", "1500,5", True),
        ("amount", "greater", "many", False),
        ("name", "greater", "1", False),
        ("next_contact_on", "less", "2027-01-01", True),
        ("tags", "equals", "vip", True),
        ("tags", "not_equals", "vip", False),
        ("tags", "contains", "we", True),
        ("tags", "is_set", "", True),
        ("company", "is_blank", "", True),
        ("company", "is_set", "", False),
        ("custom.nothing", "is_blank", "", True),
        ("name", "matches", "^j.s", True),
        ("name", "matches", "(", False),
    ],
)
def test_a_condition_compares_as_people_do(field: str, operator: str, value: str, holds: bool) -> None:
    rule = Rule(target="there", conditions=(Condition(field=field, operator=operator, value=value),))
    assert (mapping.route(LEAD, [rule]) == "there") is holds


def test_the_first_rule_that_holds_decides_and_the_default_takes_the_rest() -> None:
    rules = [
        Rule(target="mexico", conditions=(Condition(field="phone", operator="starts_with", value="+52"),)),
        Rule(
            target="big",
            conditions=(
                Condition(field="amount", operator="greater", value="1000"),
                Condition(field="tags", operator="equals", value="vip"),
            ),
        ),
        Rule(target="rest"),
    ]
    assert mapping.route(LEAD, rules) == "big"
    assert mapping.route({**LEAD, "phone": "+52555"}, rules) == "mexico"
    assert mapping.route({}, rules) == "rest"
    assert mapping.route({}, rules[:2]) is None


def test_all_that_is_wrong_with_a_rule_is_said_at_once() -> None:
    found = mapping.problems_of(
        [
            Condition(field="nothing", operator="equals", value="1"),
            Condition(field="name", operator="is"),
            Condition(field="name", operator="equals"),
            Condition(field="name", operator="matches", value="("),
        ]
    )
    assert [(item.where, item.code) for item in found] == [
        ("/conditions/0", "unknown_field"),
        ("/conditions/1", "unknown_operator"),
        ("/conditions/2", "required"),
        ("/conditions/3", "invalid_pattern"),
    ]
