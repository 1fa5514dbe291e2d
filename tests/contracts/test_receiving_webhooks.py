"""The sample that integrators copy from docs/howto/receive-webhooks.md accepts what we send and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.webhooks.signing import envelope, headers, new_secret

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "receive-webhooks.md"
AT = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def verify() -> Callable[..., bool]:
    """The function of the page, as it stands there."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    space: dict[str, Any] = {}
    exec(code, space)  # noqa: S102  # our own page
    return space["verify"]


def test_the_sample_accepts_what_we_sign_also_while_a_secret_changes(verify: Callable[..., bool]) -> None:
    new, old = new_secret(), new_secret()
    body = envelope("lead.created", AT, {"lead_name": "Iñaki"})
    sent = headers([new, old], "msg_1", AT, body)
    assert verify(new, sent, body, AT.timestamp()) and verify(old, sent, body, AT.timestamp() + 299)


def test_the_sample_refuses_the_rest(verify: Callable[..., bool]) -> None:
    secret, body = new_secret(), envelope("lead.created", AT, {})
    sent, now = headers([secret], "msg_1", AT, body), AT.timestamp()
    assert not verify(new_secret(), sent, body, now)
    assert not verify(secret, sent, body + b" ", now)
    assert not verify(secret, sent | {"webhook-id": "msg_2"}, body, now)
    assert not verify(secret, sent, body, now + 301) and not verify(secret, sent, body, now - 301)
    assert not verify(secret, {}, body, now)
