"""The REST door's own promises: repeats, versions, pages, and errors that name everything in the reader's language."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask, Response, g
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import func, select, update

from app.contracts.problems import problem
from app.kit import auth, db, rest
from app.kit.errors import BadRequest, Conflict, Invalid, PreconditionFailed, PreconditionRequired, TooMany
from app.kit.rest import Body, PageQuery, idempotency
from app.kit.rest.endpoint import to_response
from app.kit.rest.findings import problems_of
from app.leads.models import Lead

Idempotency = idempotency._tables["leads"]
ANA = {"name": "Ana", "email": "ana@example.com"}


def count(model: Any) -> int:
    with db.own_context():
        return db.db.session.scalar(select(func.count()).select_from(model)) or 0


# --- the same POST again -----------------------------------------------------------------------------------------


def test_a_repeated_post_has_one_effect_and_the_same_answer(api: Callable[..., Any]) -> None:
    key = api()
    first, again = (key.post("/leads", json=ANA, headers={"Idempotency-Key": "one"}) for _ in range(2))
    assert first.status_code == again.status_code == 201
    assert first.data == again.data
    for name in ("Location", "ETag", "Content-Type"):
        assert first.headers[name] == again.headers[name]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.headers["X-Request-Id"] != again.headers["X-Request-Id"], "each request has an id of its own"
    assert count(Lead) == 1


def test_without_the_header_each_post_stands_for_itself(api: Callable[..., Any]) -> None:
    key = api()
    for _ in range(2):
        assert key.post("/leads", json={"name": "Ana"}).status_code == 201
    assert count(Lead) == 2
    assert count(Idempotency) == 0


def test_the_same_key_for_another_request_is_refused(api: Callable[..., Any]) -> None:
    key = api()
    sent = {"Idempotency-Key": "one"}
    lead = key.post("/leads", json=ANA, headers=sent).json["id"]
    for path, body in (
        ("/leads", {"name": "Berta"}),
        ("/leads?x=1", ANA),
        (f"/leads/{lead}/events", {"text": "Called"}),
    ):
        answer = key.post(path, json=body, headers=sent)
        assert answer.status_code == 422, path
        assert [item["code"] for item in answer.json["errors"]] == ["key_reused"]
    assert count(Lead) == 1


def test_a_refused_request_stores_nothing_and_may_be_corrected(api: Callable[..., Any]) -> None:
    key = api()
    sent = {"Idempotency-Key": "one"}
    assert key.post("/leads", json={"email": "nonsense"}, headers=sent).status_code == 422
    assert count(Idempotency) == 0
    assert key.post("/leads", json=ANA, headers=sent).status_code == 201


def test_a_view_that_answers_with_a_refusal_keeps_no_answer_either(app: Flask) -> None:
    with app.test_request_context("/x", method="POST", headers={"Idempotency-Key": "one"}):
        g.embudo_principal = auth.SYSTEM
        for _ in range(2):
            assert idempotency.once("leads", lambda: Response("no", status=409)).status_code == 409
        assert idempotency.once("leads", lambda: Response("yes", status=201)).status_code == 201
        assert idempotency.once("leads", lambda: Response("never", status=201)).get_data() == b"yes"


def test_keys_of_the_same_name_do_not_see_each_other_s_answers(api: Callable[..., Any]) -> None:
    one, other = api(), api()  # both are called "test"
    first = one.post("/leads", json={"name": "Ana"}, headers={"Idempotency-Key": "one"})
    second = other.post("/leads", json={"name": "Ana"}, headers={"Idempotency-Key": "one"})
    assert "Idempotency-Replayed" not in second.headers
    assert first.json["id"] != second.json["id"]


@pytest.mark.parametrize("given", ["", "   ", "x" * 256])
def test_an_unusable_key_is_refused(api: Callable[..., Any], given: str) -> None:
    assert api().post("/leads", json=ANA, headers={"Idempotency-Key": given}).status_code == 400
    assert count(Lead) == 0


def test_the_same_post_at_the_same_moment_has_one_effect(app: Flask, api: Callable[..., Any]) -> None:
    key = api()
    start = threading.Barrier(4)
    answers: list[Any] = []

    def send() -> None:
        with app.app_context():
            start.wait()
            answers.append(key.post("/leads", json=ANA, headers={"Idempotency-Key": "one"}))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.data for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 3
    assert count(Lead) == 1


def test_kept_answers_are_unreadable_in_the_database_and_forgotten_after_a_day(
    app: Flask, api: Callable[..., Any]
) -> None:
    api().post("/leads", json=ANA, headers={"Idempotency-Key": "one"})
    with db.own_context():
        assert b"ana@example.com" not in db.db.session.scalars(select(Idempotency.body)).one()
    idempotency.purge("leads")
    assert count(Idempotency) == 1
    with db.own_context(), db.transaction() as session:
        session.execute(update(Idempotency).values(created_at=db.utcnow() - timedelta(hours=25)))
    idempotency.purge("leads")
    assert count(Idempotency) == 0


# --- versions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ['"3"', "3", 'W/"3"', "*", ' "3" '])
def test_the_version_that_was_seen_may_be_changed(app: Flask, given: str) -> None:
    with app.test_request_context("/", headers={"If-Match": given}):
        rest.require_match(3)


@pytest.mark.parametrize("given", ['"2"', '"33"', '"3', "x", "-3", '"3", "4"'])
def test_another_version_may_not(app: Flask, given: str) -> None:
    with app.test_request_context("/", headers={"If-Match": given}):
        if given == '"3':
            rest.require_match(3)  # a quote that is missing harms nobody
        else:
            with pytest.raises(PreconditionFailed):
                rest.require_match(3)


def test_no_version_is_refused_unless_it_is_optional(app: Flask) -> None:
    with app.test_request_context("/"):
        with pytest.raises(PreconditionRequired):
            rest.require_match(3)
        rest.require_match(3, required=False)
    assert rest.etag_of(3) == '"3"'


def test_of_two_changes_to_what_both_saw_one_is_refused(api: Callable[..., Any]) -> None:
    key = api()
    made = key.post("/leads", json=ANA)
    seen = {"If-Match": made.headers["ETag"]}
    path = made.headers["Location"]
    changed = key.patch(path, json={"company": "Olivar"}, headers=seen)
    assert changed.status_code == 200
    assert changed.headers["ETag"] != made.headers["ETag"]
    assert key.patch(path, json={"company": "Almazara"}, headers=seen).status_code == 412
    assert key.get(path).json["company"] == "Olivar"


# --- pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [("a",), ("2026-01-31T08:00:00+00:00", "id"), (1, None, "ñ😀")])
def test_a_cursor_says_the_position_again(position: tuple[Any, ...]) -> None:
    cursor = rest.encode_cursor(*position)
    assert cursor.isascii()
    assert "=" not in cursor
    assert rest.decode_cursor(cursor, len(position)) == list(position)


def test_times_become_text_in_cursors() -> None:
    assert rest.decode_cursor(rest.encode_cursor(datetime(2026, 1, 31, tzinfo=UTC)), 1) == [
        "2026-01-31T00:00:00+00:00"
    ]


@pytest.mark.parametrize("cursor", ["", "x", "W10", "bnVsbA", "%", "ñ", rest.encode_cursor(1, 2)])
def test_what_is_no_cursor_of_this_list_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        rest.decode_cursor(cursor, 1)
    assert [(item.where, item.code) for item in refused.value.problems] == [("/cursor", "bad_cursor")]


def test_following_the_cursors_shows_everything_once(api: Callable[..., Any]) -> None:
    key = api()
    made = {key.post("/leads", json={"name": f"Lead {number}"}).json["id"] for number in range(7)}
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = key.get("/leads", query_string={"limit": 3, **({"cursor": cursor} if cursor else {})}).json
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert len(seen) == len(made)
    assert set(seen) == made


# --- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "message"),
    [("en", "There is no such stage"), ("es", "No existe esa etapa"), ("fr", "No existe esa etapa")],
)
def test_messages_are_in_the_reader_s_language_and_codes_in_none(
    api: Callable[..., Any], language: str, message: str
) -> None:
    answer = api().post("/leads", json={"name": "Ana", "stage": "x"}, headers={"Accept-Language": language})
    (found,) = answer.json["errors"]
    assert found["code"] == "unknown_stage"
    assert found["where"] == "/stage"
    assert message in found["message"]
    assert found["params"]["known"] in found["message"]


def test_a_pointer_escapes_what_stands_in_a_name(api: Callable[..., Any]) -> None:
    answer = api().post("/flows", json={"name": "x", "document": {"a/b~c": ["\0"]}})
    assert [item["where"] for item in answer.json["errors"]] == ["/document/a~1b~0c/0"]


@pytest.mark.parametrize(("language", "words"), [("en", "This is missing."), ("es", "Falta esto.")])
def test_what_pydantic_finds_is_told_in_the_reader_s_language_too(
    api: Callable[..., Any], language: str, words: str
) -> None:
    key = api()
    path = key.post("/leads", json=ANA).headers["Location"] + "/events"
    shown = key.post(path, json={"a/b": 1}, headers={"Accept-Language": language}).json["errors"]
    assert {item["where"]: item["code"] for item in shown} == {"/text": "missing", "/a~1b": "extra_forbidden"}
    assert words in [item["message"] for item in shown]


@pytest.mark.parametrize(
    ("headers", "missing", "forbidden"),
    [
        ({}, "There is no lead ", "This needs the scope leads:read; “test” does not have it."),
        ({"Accept-Language": "en"}, "There is no lead ", "This needs the scope leads:read; “test”"),
        ({"Accept-Language": "es"}, "No se encuentra: lead ", "Esto requiere el permiso leads:read; «test»"),
    ],
)
def test_a_refusal_without_problems_is_told_in_the_language_that_was_asked_for(
    api: Callable[..., Any], headers: dict[str, str], missing: str, forbidden: str
) -> None:
    nobody = "/leads/0198f000-0000-7000-8000-00000000dead"
    assert api().get(nobody, headers=headers).json["detail"].startswith(missing)
    assert api("flows:read").get(nobody, headers=headers).json["detail"].startswith(forbidden)


def test_a_change_without_or_with_an_old_etag_is_refused_in_the_reader_s_language(
    api: Callable[..., Any],
) -> None:
    key, spanish = api(), {"Accept-Language": "es"}
    path = key.post("/leads", json=ANA).headers["Location"]
    assert "Envía If-Match" in key.put(path, json=ANA, headers=spanish).json["detail"]
    old = key.put(path, json=ANA, headers={**spanish, "If-Match": '"99"'})
    assert (
        old.json["detail"] == "Alguien ha cambiado esto mientras tanto; vuelve a leerlo y repite tu cambio."
    )


@pytest.mark.parametrize("language", ["en", "es"])
def test_a_choice_is_told_as_a_list_without_a_word_of_one_language(
    api: Callable[..., Any], language: str
) -> None:
    (found,) = api().get("/leads?sort=x", headers={"Accept-Language": language}).json["errors"]
    assert found["code"] == "literal_error" and " or " not in found["message"]
    assert "'created_at', '-created_at'" in found["message"] and "'-amount'" in found["message"]


class Sample(Body):
    """A body with rules that have sentences and one that has none."""

    name: str = Field(max_length=3)
    number: int = Field(1, ge=2)
    inner: dict[str, int] = Field(default_factory=dict)
    when: UUID | None = None


def test_findings_carry_their_values_and_rare_ones_keep_pydantic_s_words() -> None:
    with pytest.raises(ValidationError) as found:
        Sample.model_validate({"name": "long", "number": 1, "inner": {"a": "x"}, "when": "x"})
    told = {item.where: item for item in problems_of(found.value)}
    assert told["/name"].message == "At most 3 characters."
    assert told["/number"].params == {"ge": 2}
    assert told["/inner/a"].message == "This must be a whole number."
    assert told["/when"].message.startswith("Input should be a valid UUID")


def test_a_refusal_lists_everything_and_says_where(app: Flask) -> None:
    error = Invalid([problem("/a", "one", "First %(x)s.", x=1), problem("/b", "two", "Second.")])
    with app.test_request_context("/leads?secret=1"):
        answer = rest.problem_response(error)
    body = answer.get_json()
    assert answer.mimetype == "application/problem+json"
    assert body["detail"] == "First 1.; Second."
    assert body["instance"] == "/leads", "without the query: it may hold what is private"
    assert [(item["where"], item["code"]) for item in body["errors"]] == [("/a", "one"), ("/b", "two")]


@pytest.mark.parametrize(
    ("error", "status"),
    [(Conflict(problem("/a", "x", "Taken.")), 409), (TooMany(0.2), 429), (BadRequest("No."), 400)],
)
def test_every_refusal_has_its_status(app: Flask, error: Any, status: int) -> None:
    with app.test_request_context("/leads"):
        answer = rest.problem_response(error)
    assert answer.status_code == answer.get_json()["status"] == status
    assert answer.headers.get("Retry-After") == ("1" if status == 429 else None)


def test_a_mistake_of_ours_tells_nobody_how_we_work(
    app: Flask, api: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("SELECT secret FROM leads_lead")

    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    monkeypatch.setattr("app.leads.api.leads.funnel.stages", broken)
    answer = api().get("/stages", headers={"Accept": "text/html"})
    assert answer.status_code == 500
    assert answer.mimetype == "application/problem+json"
    assert "SELECT" not in answer.text
    assert "RuntimeError" not in answer.text
    assert answer.headers["X-Request-Id"] in answer.json["detail"]


class Out(BaseModel):
    """An answer."""

    id: str


@pytest.mark.parametrize(
    ("result", "status", "data"),
    [
        (Out(id="1"), 200, b'{"id":"1"}'),
        ({"id": "1"}, 200, b'{"id":"1"}'),
        (({"id": "1"}, 202), 202, b'{"id":"1"}'),
        ([], 200, b"[]"),
        (None, 204, b""),
    ],
)
def test_what_a_view_returns_becomes_json(app: Flask, result: Any, status: int, data: bytes) -> None:
    with app.test_request_context("/"):
        answer = to_response(result)
    assert (answer.status_code, answer.get_data()) == (status, data)


def test_pages_have_bounds() -> None:
    for wrong in ({"limit": 0}, {"limit": 101}, {"offset": 1}, {"cursor": "x" * 501}):
        with pytest.raises(ValidationError):
            PageQuery.model_validate(wrong)
