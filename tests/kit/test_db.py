"""One session over several databases: what it refuses, and what it never leaves half done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from flask import Flask
from sqlalchemy import select

from app.kit import db, rows
from app.kit.auth import ApiKey
from app.kit.outbox import tables_of

Outbox, _ = tables_of("leads")


def a_key(name: str = "key") -> ApiKey:
    """A row of the platform bind."""
    return ApiKey(name=name, prefix="emb_x", digest=name, scopes=["leads:read"])


def an_event() -> object:
    """A row of the leads bind."""
    return Outbox(name="lead.deleted", version=1, subject="x", data={}, pending=[])


def test_a_transaction_over_two_binds_is_refused_and_nothing_is_stored(app: Flask) -> None:
    with (
        pytest.raises(db.TwoBinds, match=r"“platform” and to “leads”|“leads” and to “platform”"),
        db.transaction() as s,
    ):
        s.add(a_key())
        s.flush()
        s.add(an_event())
    assert db.db.session.scalar(select(ApiKey.id)) is None
    assert db.db.session.scalar(select(Outbox.id)) is None


def test_a_core_statement_on_a_second_bind_is_refused_too(app: Flask) -> None:
    with pytest.raises(db.TwoBinds), db.transaction() as session:
        session.add(a_key())
        session.flush()
        session.execute(Outbox.__table__.update().values(attempts=1))


def test_the_next_transaction_may_write_to_another_bind(app: Flask) -> None:
    with db.transaction() as session:
        session.add(a_key())
    with db.transaction() as session:
        session.add(an_event())
    assert db.db.session.scalar(select(Outbox.subject)) == "x"


def test_only_doors_open_transactions(app: Flask) -> None:
    with db.transaction(), pytest.raises(db.NestedTransaction), db.transaction():
        pass


def test_an_error_rolls_back_and_rings_nothing(app: Flask) -> None:
    rung: list[str] = []
    with pytest.raises(RuntimeError), db.transaction() as session:
        session.add(a_key())
        db.after_commit("bell", lambda: rung.append("bell"))
        raise RuntimeError
    assert db.db.session.scalar(select(ApiKey.id)) is None
    assert rung == []


def test_what_is_rung_twice_in_a_transaction_rings_once_after_it(app: Flask) -> None:
    rung: list[str] = []
    with db.transaction():
        db.after_commit("bell", lambda: rung.append("bell"))
        db.after_commit("bell", lambda: rung.append("bell"))
        assert rung == []
    assert rung == ["bell"]


def test_a_neighbours_context_does_not_commit_the_callers_half_finished_work(app: Flask) -> None:
    with pytest.raises(RuntimeError), db.transaction() as session:
        session.add(an_event())
        session.flush()
        with db.own_context(), db.transaction() as other:
            other.add(a_key())
        raise RuntimeError
    assert db.db.session.scalar(select(ApiKey.id)) is not None
    assert db.db.session.scalar(select(Outbox.id)) is None


def test_times_come_back_aware_and_in_utc_whatever_zone_they_went_in(app: Flask) -> None:
    madrid = datetime(2026, 7, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    with db.transaction() as session:
        row = a_key()
        row.expires_at = madrid
        session.add(row)
    db.db.session.expire_all()
    assert db.db.session.scalars(select(ApiKey)).one().expires_at == datetime(2026, 7, 1, 10, 0, tzinfo=UTC)


def test_a_naive_time_is_refused(app: Flask) -> None:
    with pytest.raises(Exception, match="naive datetime"), db.transaction() as session:
        row = a_key()
        row.expires_at = datetime(2026, 7, 1)  # noqa: DTZ001 (the point of the test)
        session.add(row)


def test_insert_once_tells_whether_the_row_was_new(app: Flask) -> None:
    values = {
        "id": db.new_id(), "name": "a", "prefix": "p", "digest": "d", "scopes": [], "created_at": db.utcnow(),
        "created_by": "",
    }  # fmt: skip
    with db.transaction():
        assert rows.insert_once(ApiKey, values, ["digest"])
        assert not rows.insert_once(ApiKey, {**values, "id": db.new_id()}, ["digest"])


def test_ids_are_text_and_in_the_order_they_were_made() -> None:
    made = [db.new_id() for _ in range(1000)]
    assert made == sorted(made)
    assert all(isinstance(item, str) for item in made)


def test_binds_with_one_url_share_one_engine(app: Flask) -> None:
    engines = db.db.engines
    urls = {engine.url.render_as_string(hide_password=False) for engine in engines.values()}
    assert len(set(engines.values())) == len(urls)


ID = "0198f0aa-0000-7000-8000-00000000beef"


@pytest.mark.parametrize("written", [ID, ID.upper(), ID.replace("-", "")])
def test_an_id_has_one_spelling_however_it_is_written(written: str) -> None:
    assert db.as_id(written) == ID and db.is_id(written)


@pytest.mark.parametrize(
    "written",
    ["", "none", f"{{{ID}}}", f"urn:uuid:{ID}", ID[:-1], f"{ID}\n", "٠" * 32, 12345678 * 10**24, None],
)
def test_what_the_database_would_refuse_as_an_id_is_none(written: object) -> None:
    assert db.as_id(written) is None and not db.is_id(written)
