"""What is gone elsewhere, so that what was said of it before and arrives late is neither kept nor sent.

Events arrive in any order, and one whose handler failed comes again minutes later: perhaps after the deletion. It is
the time of the event that decides, so that what is brought back is heard of again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit import db, inbox, outbox, rows

KEEP = timedelta(days=outbox.KEEP_DAYS)
"""How long it is remembered what is gone: longer than anything said before can be on its way."""

_tables: dict[str, Any] = {}


def gone_table(base: Any, service: str) -> Any:
    """Declare the table of what is gone on a service's base; called once, in the service's models."""

    class Gone(base):
        """Subjects of events that were deleted elsewhere."""

        __tablename__ = f"{service}_gone"

        subject: Mapped[str] = mapped_column(String(80), primary_key=True)
        at: Mapped[datetime] = mapped_column(db.UtcDateTime)  # when it was deleted there
        noted_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.utcnow, index=True)

    Gone.__name__ = f"{service.title()}Gone"
    _tables[service] = Gone
    return Gone


def note(service: str, subject: str) -> None:
    """Remember that the event which is being handled is the end of its subject. First of all in its handler.

    Who is handling an older event of this subject is waited for, so that what it stores can be found here.
    """
    table, at = _tables[service], inbox.received().at
    _lock(table, subject, "pg_advisory_xact_lock")
    values = {"subject": subject, "at": at, "noted_at": db.utcnow()}
    if not rows.insert_once(table, values, ["subject"]):
        row: Any = db.db.session.get(table, subject, populate_existing=True)
        row.at, row.noted_at = max(row.at, at), values["noted_at"]


def is_gone(service: str, subject: str) -> bool:
    """Whether the event which is being handled is older than the end of its subject; until the commit that stays so."""
    table = _tables[service]
    _lock(table, subject, "pg_advisory_xact_lock_shared")
    row = db.db.session.get(table, subject, populate_existing=True)
    return row is not None and inbox.received().at < row.at


def purge(service: str) -> bool:
    """Forget a batch of what is gone for longer than KEEP; whether there may be more."""
    if service not in _tables:
        return False
    return rows.purge_older(_tables[service], _tables[service].noted_at, db.utcnow() - KEEP)


def _lock(table: Any, subject: str, function: str) -> None:
    # SQLite needs nothing: transaction() holds the only write lock.
    where = {"clause": table.__table__}
    if db.db.session.get_bind(**where).dialect.name == "postgresql":
        db.db.session.execute(
            text(f"SELECT {function}(hashtextextended(:key, 0))"),
            {"key": f"{table.__tablename__}:{subject}"},
            bind_arguments=where,
        )
