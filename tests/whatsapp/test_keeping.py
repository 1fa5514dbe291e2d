"""Raw webhooks are kept for as long as they may be asked for, and not for ever."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from app.kit import rows
from app.kit.db import db, transaction, utcnow
from app.whatsapp import jobs
from app.whatsapp.commands.intake import KEEP
from app.whatsapp.models import Webhook


def keep(number: int, *, days: int, dead: bool = False) -> None:
    handled = utcnow() - timedelta(days=days)
    db.session.add(
        Webhook(
            provider="meta", digest=bytes([number]) * 32, url="/message", body=b"{}",
            processed_at=handled, dead_at=handled if dead else None,
        )
    )  # fmt: skip


def test_old_webhooks_go_in_batches_and_those_that_failed_stay(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "DELETE_BATCH", 2)
    with transaction():
        for number in range(5):
            keep(number, days=KEEP.days + 1)
        keep(5, days=KEEP.days + 1, dead=True)
        keep(6, days=KEEP.days - 1)
    assert jobs.webhooks_to_forget()
    jobs.forget_webhooks()
    assert not jobs.webhooks_to_forget()
    left = {digest[0] for digest in db.session.scalars(select(Webhook.digest))}
    assert left == {5, 6}
