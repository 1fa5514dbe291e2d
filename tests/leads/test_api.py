"""The REST door of leads: every status it can answer, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from app.kit.auth import SYSTEM
from app.kit.db import new_id, own_context, transaction
from app.leads import commands
from tests.leads.people import ANN, keep, living, published, seller, timeline

PROBLEM = "application/problem+json"


def wheres(answer: Any) -> set[str]:
    assert answer.content_type == PROBLEM
    return {item["where"] for item in answer.get_json()["errors"]}


# POST


def test_a_new_lead_is_created_with_location_and_etag(api: Any) -> None:
    client = api("leads:write", "leads:read")
    answer = client.post("/leads", json={**ANN, "amount": "1200.50", "tags": ["vip"], "custom": {"size": 3}})
    body = answer.get_json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/leads/{body['id']}"
    assert answer.headers["ETag"] == '"1"'
    assert (body["found"], body["source"], body["amount"], body["tags"]) == (False, "api", "1200.50", ["vip"])
    again = client.get(answer.headers["Location"]).get_json()
    assert again == {key: value for key, value in body.items() if key != "found"}


def test_the_same_person_again_is_200_and_says_so(api: Any) -> None:
    client = api()
    first = client.post("/leads", json=ANN)
    answer = client.post("/leads", json={"phone": "0034600000012", "company": "Smith Ltd"})
    assert answer.status_code == 200
    assert answer.headers["Location"] == first.headers["Location"]
    assert answer.headers["ETag"] == '"2"'
    assert (answer.get_json()["found"], answer.get_json()["company"]) == (True, "Smith Ltd")


def test_all_problems_of_a_body_are_listed(api: Any) -> None:
    answer = api().post(
        "/leads", json={"name": 5, "email": "x", "phone": [], "owner_id": "7", "colour": "red"}
    )
    assert answer.status_code == 422
    assert wheres(answer) == {"/name", "/email", "/phone", "/owner_id", "/colour"}
    assert living() == []


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"name": NaN}', "application/json", 400),
        (b'{"name": "\\ud800"}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b'"x"', "application/json", 422),
        (b"name=Ann", "application/x-www-form-urlencoded", 415),
        (b'{"name": "Ann"}', "text/plain", 415),
        (b'{"name": "' + b"x" * 10_000_000 + b'"}', "application/json", 413),
    ],
)
def test_unreadable_bodies_are_refused_and_store_nothing(
    api: Any, body: bytes, content_type: str, status: int
) -> None:
    answer = api().post("/leads", data=body, content_type=content_type)
    assert answer.status_code == status
    assert answer.content_type == PROBLEM
    assert living() == []


def test_a_repeat_with_the_same_key_is_replayed(api: Any) -> None:
    client = api()
    key = {"Idempotency-Key": "form-7"}
    first = client.post("/leads", json={"name": "Nobody known"}, headers=key)
    again = client.post("/leads", json={"name": "Nobody known"}, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.get_json() == first.get_json()
    assert again.headers["Location"] == first.headers["Location"]
    assert len(living()) == 1
    other = client.post("/leads", json={"name": "Somebody else"}, headers=key)
    assert other.status_code == 422
    assert len(living()) == 1


# keys and roles


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/leads"),
        ("post", "/leads"),
        ("get", "/leads/x"),
        ("put", "/leads/x"),
        ("patch", "/leads/x"),
        ("delete", "/leads/x"),
        ("post", "/leads/x/restore"),
        ("get", "/leads/x/events"),
        ("post", "/leads/x/events"),
        ("get", "/stages"),
    ],
)
def test_every_door_asks_for_a_key_with_the_scope(client: Any, api: Any, method: str, path: str) -> None:
    assert getattr(client, method)(path, json={}).status_code == 401
    wrong = api("leads:write" if method == "get" else "leads:read")
    assert getattr(wrong, method)(path, json={}).status_code == 403


UNKNOWN = [
    "x",
    "1",
    "' OR 1=1",
    "0190c7a2-0000-7000-8000-000000000000",
    "%00",
    "zzzzzzzz-0000-7000-8000-000000000000",
]


@pytest.mark.parametrize("lead_id", UNKNOWN)
@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_an_id_that_is_nobodys_is_404(api: Any, method: str, lead_id: str) -> None:
    headers = {"If-Match": '"1"'}
    options = {} if method in ("get", "delete") else {"json": {"name": "X"}}
    answer = getattr(api(), method)(f"/leads/{lead_id}", headers=headers, **options)
    assert answer.status_code == 404
    assert answer.content_type == PROBLEM


def test_a_seller_sees_and_changes_only_their_own(api: Any, make_user: Any) -> None:
    mine = make_user("seller")
    client = api(user_id=mine.id)
    foreign = keep()
    answer = client.post("/leads", json={"name": "Mine"})
    own_id = answer.get_json()["id"]
    assert answer.get_json()["owner_name"] == "seller"
    assert [item["id"] for item in client.get("/leads").get_json()["items"]] == [own_id]
    assert client.get("/leads?owner=0").get_json()["items"] == []
    match = {"If-Match": '"1"'}
    for denied in (
        client.get(f"/leads/{foreign.id}"),
        client.put(f"/leads/{foreign.id}", json={"name": "X"}, headers=match),
        client.patch(f"/leads/{foreign.id}", json={"name": "X"}, headers=match),
        client.delete(f"/leads/{foreign.id}"),
        client.get(f"/leads/{foreign.id}/events"),
        client.post(f"/leads/{foreign.id}/events", json={"text": "x"}),
    ):
        assert denied.status_code == 404
    given_away = client.patch(f"/leads/{own_id}", json={"owner_id": 1}, headers=match)
    assert given_away.status_code == 403
    taken = client.post("/leads", json={"email": ANN["email"], "phone": "600000099"})
    assert taken.status_code == 200  # nobody's lead becomes theirs
    assert client.post("/leads", json={"name": "A", "owner_id": 1}).status_code == 403


def test_a_seller_does_not_learn_what_another_sellers_lead_says(api: Any, make_user: Any) -> None:
    keep(by=seller(make_user("seller", "rival")))
    answer = api(user_id=make_user("seller").id).post("/leads", json={"email": ANN["email"]})
    assert answer.status_code == 409
    assert wheres(answer) == {"/email"}
    assert "Ann Smith" not in answer.text


# reading


@pytest.mark.parametrize("link", ["contact_id", "conversation_id"])
def test_a_seller_names_no_conversation(api: Any, make_user: Any, link: str) -> None:
    contact = new_id()
    assert keep(name="Somebody else's", contact_id=contact, conversation_id=contact)
    browser = api(user_id=make_user("seller").id)
    assert browser.post("/leads", json={"name": "Mine", link: contact}).status_code == 403
    own = browser.post("/leads", json={"name": "Mine", "phone": "+34600000099"}).get_json()
    again = {"phone": "+34600000099", link: contact}
    assert browser.post("/leads", json=again).status_code == 403
    answer = browser.patch(f"/leads/{own['id']}", json={link: contact}, headers={"If-Match": "*"})
    assert answer.status_code == 403
    assert published("lead.assigned") == [], "the whatsapp service is told nothing"


def test_a_key_that_may_not_read_is_not_told_what_it_finds(api: Any) -> None:
    lead = keep(**ANN, notes="Prefers to be called at home")
    form = api("leads:write")
    found = form.post("/leads", json={"phone": ANN["phone"]})
    assert found.get_json() == {"id": lead.id, "version": lead.version, "found": True}
    changed = form.patch(f"/leads/{lead.id}", json={}, headers={"If-Match": "*"})
    assert changed.get_json() == {"id": lead.id, "version": lead.version}
    new = form.post("/leads", json={"name": "Somebody new"})
    assert (new.status_code, set(new.get_json())) == (201, {"id", "version", "found"})
    assert form.delete(f"/leads/{lead.id}").status_code == 204
    assert set(form.post(f"/leads/{lead.id}/restore").get_json()) == {"id", "version"}


def test_a_known_version_is_304(api: Any) -> None:
    client, lead = api(), keep()
    answer = client.get(f"/leads/{lead.id}")
    assert answer.headers["ETag"] == '"1"'
    same = client.get(f"/leads/{lead.id}", headers={"If-None-Match": '"1"'})
    assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", '"1"')
    assert client.get(f"/leads/{lead.id}", headers={"If-None-Match": '"0"'}).status_code == 200


@pytest.fixture
def six(make_user: Any) -> dict[str, str]:
    """Six leads of many kinds: name → id."""
    user = make_user("seller", "sara")
    made = {
        "Álvaro": keep(name="Álvaro", company="Óptica Sol", phone="600 000 021", amount=10, tags=["vip"]),
        "Bea": keep(name="Bea", email="bea@example.com", amount=10, source="web", stage="won"),
        "carlos": keep(name="carlos", amount=7, owner_id=user.id, tags=["vip", "fair"]),
        "Dora": keep(name="Dora", amount=None, stage="contacted"),
        "Eva": keep(name="Eva", amount=None, company="100% Real_Estate"),
        "Fede": keep(name="Fede", amount=99, stage="contacted", source="web"),
    }
    return {name: lead.id for name, lead in made.items()}


def names(client: Any, query: str) -> list[str]:
    answer = client.get(f"/leads?{query}")
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.get_json()["items"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["Fede", "Eva", "Dora", "carlos", "Bea", "Álvaro"]),
        ("sort=created_at", ["Álvaro", "Bea", "carlos", "Dora", "Eva", "Fede"]),
        ("sort=name", ["Álvaro", "Bea", "carlos", "Dora", "Eva", "Fede"]),
        ("sort=-name", ["Fede", "Eva", "Dora", "carlos", "Bea", "Álvaro"]),
        ("sort=amount", ["carlos", "Álvaro", "Bea", "Fede", "Dora", "Eva"]),
        ("sort=-amount", ["Fede", "Bea", "Álvaro", "carlos", "Eva", "Dora"]),
        ("stage=contacted&sort=name", ["Dora", "Fede"]),
        ("stage=contacted,won&sort=name", ["Bea", "Dora", "Fede"]),
        ("stage=nowhere", []),
        ("source=web&sort=name", ["Bea", "Fede"]),
        ("tag=VIP&sort=name", ["Álvaro", "carlos"]),
        ("tag=vip,fair", ["carlos"]),
        ("q=alvaro", ["Álvaro"]),
        ("q=OPTICA+sol", ["Álvaro"]),
        ("q=600+000+021", ["Álvaro"]),
        ("q=bea%40example", ["Bea"]),
        ("q=100%25", ["Eva"]),
        ("q=r_al", []),
        ("q=real_e", ["Eva"]),
        ("created_from=2000-01-01T00:00:00Z&created_to=2001-01-01", []),
        ("updated_from=2000-01-01&sort=name&limit=1", ["Álvaro"]),
    ],
)
def test_lists_are_filtered_and_sorted(
    api: Any, six: dict[str, str], query: str, expected: list[str]
) -> None:
    assert names(api("leads:read"), query) == expected


def test_lists_are_filtered_by_owner(api: Any, six: dict[str, str]) -> None:
    client = api("leads:read")
    owner = client.get(f"/leads/{six['carlos']}").get_json()["owner_id"]
    assert names(client, f"owner={owner}") == ["carlos"]
    assert len(names(client, "owner=0")) == 5


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("colour=red", "/colour"),
        ("limit=0", "/limit"),
        ("limit=101", "/limit"),
        ("limit=many", "/limit"),
        ("sort=phone", "/sort"),
        ("owner=me", "/owner"),
        ("owner=99999999999", "/owner"),
        ("q=%00", "/q"),
        ("created_from=yesterday", "/created_from"),
        ("created_from=1767225600", "/created_from"),
        ("created_from=0001-01-01T00:00:00%2B14:00", "/created_from"),
        ("q=" + "x" * 201, "/q"),
        ("cursor=nonsense", "/cursor"),
        ("cursor=WzEsMiwzXQ", "/cursor"),
        ("cursor=%C3%A9", "/cursor"),
    ],
)
def test_what_a_list_does_not_know_is_422(api: Any, query: str, where: str) -> None:
    answer = api("leads:read").get(f"/leads?{query}")
    assert answer.status_code == 422
    assert where in wheres(answer)


@pytest.mark.parametrize(
    "sort", ["created_at", "-created_at", "name", "-name", "amount", "-amount", "-updated_at"]
)
def test_pages_neither_repeat_nor_miss_while_leads_arrive(api: Any, six: dict[str, str], sort: str) -> None:
    client = api("leads:read")
    seen: list[str] = []
    cursor = ""
    for number in range(10):
        page = client.get(f"/leads?limit=2&sort={sort}{cursor}").get_json()
        seen += [item["id"] for item in page["items"]]
        keep(name=f"Late {number}", amount=number * 20)
        if page["next"] is None or set(six.values()) <= set(seen):
            break
        cursor = f"&cursor={page['next']}"
    assert len(seen) == len(set(seen))
    assert set(six.values()) <= set(seen)


def test_a_cursor_belongs_to_its_order(api: Any, six: dict[str, str]) -> None:
    client = api("leads:read")
    cursor = client.get("/leads?limit=2&sort=name").get_json()["next"]
    answer = client.get(f"/leads?limit=2&sort=-name&cursor={cursor}")
    assert answer.status_code == 422


# changing


@pytest.mark.parametrize("method", ["put", "patch"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 428),
        ({"If-Match": '"7"'}, 412),
        ({"If-Match": "nonsense"}, 412),
        ({"If-Match": '"1"'}, 200),
        ({"If-Match": "*"}, 200),
    ],
)
def test_a_change_needs_the_version_it_saw(
    api: Any, method: str, headers: dict[str, str], status: int
) -> None:
    client, lead = api(), keep()
    answer = getattr(client, method)(f"/leads/{lead.id}", json={"name": "Ann B"}, headers=headers)
    assert answer.status_code == status
    after = client.get(f"/leads/{lead.id}")
    assert after.get_json()["name"] == ("Ann B" if status == 200 else "Ann Smith")
    if status == 200:
        assert answer.headers["ETag"] == after.headers["ETag"] == '"2"'
    else:
        assert answer.content_type == PROBLEM


def test_put_replaces_the_whole_and_patch_only_what_it_names(api: Any) -> None:
    client = api()
    body = {**ANN, "company": "X", "custom": {"a": 1, "b": 2}, "stage": "won", "source": "web"}
    path = client.post("/leads", json=body).headers["Location"]
    patched = client.patch(
        path,
        json={"company": None, "custom": {"a": None, "c": 3}},
        headers={"If-Match": '"1"', "Content-Type": "application/merge-patch+json"},
    ).get_json()
    assert (patched["company"], patched["custom"], patched["email"]) == ("", {"b": 2, "c": 3}, ANN["email"])
    put = client.put(path, json={"name": "Ann"}, headers={"If-Match": '"2"'}).get_json()
    assert (put["email"], put["phone"], put["custom"], put["stage"]) == (None, None, {}, "new")
    assert put["source"] == "web"  # where a lead came from is no opinion


def test_a_taken_address_is_409(api: Any) -> None:
    keep(name="A", email="a@example.com")
    lead = keep()
    answer = api().patch(f"/leads/{lead.id}", json={"email": "a@example.com"}, headers={"If-Match": "*"})
    assert answer.status_code == 409
    assert wheres(answer) == {"/email"}


def test_a_bad_change_lists_its_problems_and_changes_nothing(api: Any) -> None:
    client, lead = api(), keep()
    answer = client.patch(
        f"/leads/{lead.id}", json={"stage": "x", "amount": "much", "name": "B"}, headers={"If-Match": "*"}
    )
    assert answer.status_code == 422
    assert wheres(answer) == {"/stage", "/amount"}
    assert client.get(f"/leads/{lead.id}").headers["ETag"] == '"1"'


def test_delete_and_restore(api: Any) -> None:
    client, lead = api(), keep()
    path = f"/leads/{lead.id}"
    assert client.delete(path, headers={"If-Match": '"9"'}).status_code == 412
    assert client.delete(path, headers={"If-Match": '"1"'}).status_code == 204
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404
    assert client.get("/leads").get_json()["items"] == []
    restored = client.post(f"{path}/restore")
    assert (restored.status_code, restored.headers["ETag"]) == (200, '"3"')
    assert client.post(f"{path}/restore").status_code == 404
    assert client.delete(path).status_code == 204
    keep()
    assert client.post(f"{path}/restore").status_code == 409


def test_the_timeline_is_paged_newest_first_and_takes_notes(api: Any) -> None:
    client, lead = api(), keep()
    with own_context(), transaction():
        commands.move_lead(lead.id, "won", by=SYSTEM)
    path = f"/leads/{lead.id}/events"
    note = client.post(path, json={"text": "Called."})
    assert (note.status_code, note.get_json()["what"]) == (201, "note")
    assert client.post(path, json={"text": ""}).status_code == 422
    assert client.post(path, json={"text": " \x00"}).status_code == 422
    first = client.get(f"{path}?limit=2").get_json()
    rest = client.get(f"{path}?limit=2&cursor={first['next']}").get_json()
    assert [item["what"] for item in first["items"] + rest["items"]] == ["note", "stage_changed", "created"]
    assert rest["next"] is None
    assert client.get(f"{path}?cursor=WzVd").status_code in (404, 422)
    assert client.get(f"/leads/{new_id()}/events").status_code == 404
    assert timeline(lead.id) == ["created", "stage_changed", "note"]


def test_the_stages_are_listed_in_both_languages(api: Any) -> None:
    stages = api("leads:read").get("/stages").get_json()["items"]
    assert [stage["key"] for stage in stages] == ["new", "contacted", "qualified", "proposal", "won", "lost"]
    assert (stages[4]["name_es"], stages[4]["name_en"], stages[4]["kind"]) == ("Ganado", "Won", "won")
