"""What `flask ops doctor` says of Amazon SES: each finding names what to do, and no key is repeated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Doctor
from tests.fakes.loopback import Answer
from tests.fakes.ports import free_port
from tests.fakes.ses_server import KEY, REGION, SECRET, SesServer

FINE = ("ok", "Amazon SES accepts the credentials.", "")
SANDBOX = (
    "warning",
    "The account is in the sandbox: it writes to verified addresses only.",
    "Ask AWS for production access.",
)
PAUSED = ("problem", "AWS has paused this account's sending.", "Look at it in the SES console.")
REVIEW = (
    "warning",
    "AWS has this account under review and may pause its sending.",
    "Look in the SES console at its bounces and complaints.",
)


@pytest.fixture
def amazon(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[SesServer]:
    """SES as the one way out, with the right key."""
    with SesServer() as server:
        for name, value in {
            "SES_REGION": REGION, "SES_ENDPOINT_URL": server.url, "SES_ACCESS_KEY_ID": KEY, "SES_SECRET_ACCESS_KEY": SECRET,
        }.items():  # fmt: skip
            monkeypatch.setitem(app.config, name, value)
        yield server


def said(doctor: Doctor) -> list[tuple[str, str, str]]:
    """Level, finding and remedy of the account's check."""
    found = [item for item in doctor()[1] if item["check"] == "email ses"]
    assert all(item["where"] == "/admin/mail-providers (Amazon SES)" for item in found)
    return [(item["level"], item["what"], item["remedy"]) for item in found]


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ({}, [FINE]),
        ({"ProductionAccessEnabled": False}, [SANDBOX, FINE]),
        ({"SendingEnabled": False, "EnforcementStatus": "SHUTDOWN"}, [PAUSED, FINE]),
        ({"EnforcementStatus": "PROBATION"}, [REVIEW, FINE]),
        ({"SendingEnabled": False, "ProductionAccessEnabled": False}, [PAUSED, SANDBOX, FINE]),
    ],
)
def test_what_keeps_the_account_from_sending_is_told(
    doctor: Doctor, amazon: SesServer, account: dict[str, Any], expected: list[tuple[str, str, str]]
) -> None:
    amazon.account = account
    assert said(doctor) == expected
    assert [(request.method, request.path) for request in amazon.requests] == [("GET", "/v2/email/account")]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("SES_ACCESS_KEY_ID", "AKIAANOTHERKEYTHATISNOT", "UnrecognizedClientException"),
        ("SES_SECRET_ACCESS_KEY", "a-secret-that-nobody-may-read", "SignatureDoesNotMatch"),
    ],
)
def test_a_wrong_key_is_a_problem_and_is_not_repeated(
    app: Flask,
    doctor: Doctor,
    amazon: SesServer,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    code: str,
) -> None:
    monkeypatch.setitem(app.config, name, value)
    status, findings = doctor()
    (found,) = [item for item in findings if item["check"] == "email ses"]
    assert found["what"] == f"Amazon SES refuses the credentials or the account ({code})."
    assert found["remedy"] == "Check them in the console of Amazon SES and enter them again."
    assert status == 1
    assert not {KEY, SECRET, value} & set(json.dumps(findings).split('"'))
    assert value not in json.dumps(findings)


def test_a_clock_that_is_wrong_is_not_taken_for_a_wrong_key(doctor: Doctor, amazon: SesServer) -> None:
    amazon.ahead = timedelta(minutes=10)
    assert said(doctor) == [
        (
            "problem",
            "AWS refuses our signatures, because this machine's clock is wrong.",
            "Switch on NTP (timedatectl set-ntp true).",
        )
    ]
    amazon.ahead = timedelta(minutes=1)
    assert [level for level, what, _ in said(doctor) if "behind Amazon SES" in what] == ["warning"]


def test_a_key_that_may_only_send_is_no_problem(doctor: Doctor, amazon: SesServer) -> None:
    amazon.allowed = False
    ((level, what, remedy),) = said(doctor)
    assert (level, what) == (
        "warning",
        "The key may not ask about the account, so nothing can be said of it.",
    )
    assert "ses:GetAccount" in remedy


def test_without_any_key_it_says_where_one_goes(
    app: Flask, doctor: Doctor, amazon: SesServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(app.config, "SES_ACCESS_KEY_ID", None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    ((level, what, remedy),) = said(doctor)
    assert (level, what) == ("problem", "There are no AWS credentials.")
    assert "AWS_ACCESS_KEY_ID" in remedy
    assert amazon.requests == []


def test_a_region_that_is_none_is_named(
    app: Flask, doctor: Doctor, amazon: SesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "SES_REGION", "eu west")
    assert said(doctor) == [("problem", "SES_REGION is not a region of AWS.", "Set it, such as: eu-west-1")]


def test_where_nobody_answers_the_region_is_among_what_to_look_at(
    app: Flask, doctor: Doctor, amazon: SesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "SES_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    ((level, what, remedy),) = said(doctor)
    assert (level, what) == ("problem", "Amazon SES cannot be reached.")
    assert "SES_REGION" in remedy


def test_a_bad_hour_of_amazon_is_not_our_fault(doctor: Doctor, amazon: SesServer) -> None:
    amazon.plan(Answer(status=503, body={"message": "Service Unavailable"}))
    ((level, what, remedy),) = said(doctor)
    assert (level, what) == ("problem", "Amazon SES gave no usable answer (503).")
    assert "try again in a few minutes" in remedy


def test_a_way_out_that_is_named_without_a_region_says_what_is_missing(
    app: Flask, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "MAIL_PROVIDERS", ("ses",))
    found = [(item["what"], item["remedy"]) for item in doctor()[1] if item["where"] == "MAIL_PROVIDERS"]
    assert found == [("Amazon SES is named, but not configured.", "Set SES_REGION, or take it out.")]
