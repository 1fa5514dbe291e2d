"""Who asks and what they may: the rules behind every door, one by one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from app.kit import auth, db
from app.kit.errors import Forbidden, Invalid, NotFound, Unauthorized


def make(name: str = "web form", scopes: tuple[str, ...] = ("leads:read",), **more: object) -> str:
    with db.own_context(), db.transaction():
        _, plain = auth.create_key(name, scopes, **more)  # type: ignore[arg-type]
    return plain


def test_only_the_hash_of_a_key_is_stored(app: Flask) -> None:
    plain = make()
    row = db.db.session.scalars(select(auth.ApiKey)).one()
    assert plain.startswith("emb_")
    assert len(plain) > 40
    assert row.digest == auth.digest_of(plain)
    assert plain not in str(vars(row))
    assert row.prefix == plain[:10]


def test_everything_that_is_wrong_with_a_new_key_is_told_at_once(app: Flask) -> None:
    with pytest.raises(Invalid) as refused:
        make(" ", ("no:such", "nor:that"), expires_at=db.utcnow())
    assert [(item.where, item.code) for item in refused.value.problems] == [
        ("/name", "required"),
        ("/scopes", "unknown_scope"),
        ("/scopes", "unknown_scope"),
        ("/expires_at", "in_the_past"),
    ]
    with pytest.raises(Invalid):
        make("x", ())
    assert db.db.session.scalars(select(auth.ApiKey)).all() == []


def test_a_key_is_recognised_in_either_header(app: Flask) -> None:
    plain = make()
    for headers in (
        {"Authorization": f"Bearer {plain}"},
        {"Authorization": f"bearer  {plain} "},
        {"X-Api-Key": plain},
    ):
        with app.test_request_context("/", headers=headers):
            principal = auth.current()
            assert (principal.kind, principal.name, principal.own_only) == ("api_key", "web form", False)
            assert principal.may("leads:read")
            assert not principal.may("leads:write")


def test_a_wrong_key_is_not_made_good_by_a_session_behind_it(app: Flask) -> None:
    with app.test_request_context("/", headers={"X-Api-Key": "emb_wrong"}), pytest.raises(Unauthorized):
        auth.current()


def test_the_use_of_a_key_is_noted_now_and_then(app: Flask) -> None:
    plain = make()
    for _ in range(2):
        with app.test_request_context("/", headers={"X-Api-Key": plain}):
            auth.current()
    row = db.db.session.scalars(select(auth.ApiKey)).one()
    assert row.last_used_at is not None
    assert db.utcnow() - row.last_used_at < timedelta(seconds=30)


def test_revoking_twice_keeps_the_first_time_and_an_unknown_key_is_not_found(app: Flask) -> None:
    make()
    key_id = db.db.session.scalars(select(auth.ApiKey.id)).one()
    with db.transaction():
        first = auth.revoke_key(key_id).revoked_at
    with db.transaction():
        assert auth.revoke_key(key_id).revoked_at == first
    with pytest.raises(NotFound), db.transaction():
        auth.revoke_key(db.new_id())


def test_what_is_remembered_of_keys_stays_small(app: Flask) -> None:
    for number in range(1100):
        with (
            app.test_request_context("/", headers={"X-Api-Key": f"emb_{number}"}),
            pytest.raises(Unauthorized),
        ):
            auth.current()
    assert len(auth._seen) <= 1001


def test_roles_hold_known_scopes_and_each_less_than_the_one_above(app: Flask) -> None:
    scopes = auth.ROLE_SCOPES
    for role, held in scopes.items():
        assert held <= set(auth.SCOPES), role
    assert scopes["Admin"] == set(auth.SCOPES)
    assert scopes["seller"] < scopes["manager"] < scopes["Admin"]
    assert "webhooks:write" not in scopes["manager"]
    assert all(scope.endswith(":read") for scope in scopes["viewer"])


@pytest.mark.parametrize(
    ("roles", "own_only"),
    [
        (["seller"], True),
        (["seller", "viewer"], False),
        (["seller", "manager"], False),
        (["Admin"], False),
        (["seller", "a role of one's own"], True),
        ([], False),
    ],
)
def test_a_seller_is_limited_to_their_own_unless_another_role_sees_all(
    roles: list[str], own_only: bool
) -> None:
    assert auth.principal_of(1, "ana", roles).own_only is own_only


def test_an_unknown_role_may_nothing() -> None:
    assert auth.principal_of(1, "ana", ["nobody knows"]).scopes == frozenset()


def test_a_key_is_cut_down_to_its_person_and_a_person_s_key_to_its_scopes() -> None:
    made = auth.principal_of(1, "ana", ["viewer"], scopes=frozenset({"leads:read", "leads:write"}))
    assert made.scopes == {"leads:read"}


def test_principals_are_told_apart_by_what_they_are() -> None:
    names = {
        auth.Principal(kind="api_key", name="x", key_id="1").identity,
        auth.Principal(kind="api_key", name="x", key_id="2").identity,
        auth.Principal(kind="api_key", name="x", key_id="3", user_id=1).identity,
        auth.Principal(kind="user", name="x", user_id=1).identity,
        auth.Principal(kind="user", name="x", user_id=2).identity,
        auth.Principal(kind="service", name="x").identity,
    }
    assert len(names) == 6


def test_needs_names_the_scope_and_refuses_unknown_ones(app: Flask) -> None:
    with pytest.raises(ValueError, match="unknown scope"):
        auth.needs("no:such")
    guarded = auth.needs("leads:write")(lambda: "done")
    assert guarded.embudo_auth == "leads:write"  # type: ignore[attr-defined]
    presented = {"X-Api-Key": make()}
    for headers, refusal in ((presented, Forbidden), ({}, Unauthorized)):
        with db.own_context(), app.test_request_context("/", headers=headers), pytest.raises(refusal):
            guarded()
