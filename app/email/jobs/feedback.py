"""Notices of providers are understood here, one transaction each, so that an odd one stops no other."""

from __future__ import annotations

from flask import current_app
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.email import commands
from app.email.models import Notice
from app.email.providers import sns
from app.email.providers.feedback import Unreadable
from app.email.providers.ways import WAYS
from app.kit import telemetry
from app.kit.db import transaction
from app.kit.errors import ProviderError
from app.kit.jobs import drain_until, is_over, ring

log = telemetry.get_logger("email")


def sns_fetch() -> sns.Fetch:
    """How Amazon's addresses are asked; tests put their own way into the app."""
    own: sns.Fetch | None = current_app.extensions.get("embudo_sns_fetch")
    return own or sns.fetch


def take_in() -> None:
    """Understand all notices that wait."""
    ends = drain_until()
    while not is_over(ends):
        with transaction():
            notices = commands.claim_notices()
        if not notices:
            return
        for notice in notices:
            with telemetry.bound(request_id=notice.request_id):
                _take_in_one(notice)
    ring(commands.NOTICE_JOB)


def _take_in_one(notice: Notice) -> None:
    try:
        if notice.provider == "ses" and sns.kind_of(notice.body) == sns.CONFIRMATION:
            sns.confirm(notice.body, sns_fetch())
            log.info("subscription confirmed", notice_id=notice.id)
        read = WAYS[notice.provider].read
        assert read is not None  # only doors of those that tell keep notices
        told = read(notice.body)
        with transaction():
            commands.take_in(notice.id, told)
    except commands.TooEarly:
        reason = "The message it is about is not known yet."
    except (Unreadable, sns.Refused, ProviderError) as error:
        reason = f"{type(error).__name__}: {error}"
    except (OperationalError, PoolTimeout):
        raise  # the database is gone, not the notice odd: all wait until their leases end
    except Exception as error:  # whatever is odd about this one, the others must not wait for it
        log.error("notice failed", notice_id=notice.id, provider=notice.provider, exc_info=error)
        reason = type(error).__name__
    else:
        return
    with transaction():
        commands.note_notice_failure(notice.id, reason)
