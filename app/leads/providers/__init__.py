"""How leads reach Airtable: one adapter, and a stand-in that answers as Airtable does.

What comes out of the adapter is in our words; what it raises are the five errors of the kit. It sees no tables of
ours and keeps no state but its connection.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.kit.http import Standing
from app.leads.mapping import Column

BATCH = 10
"""Records that one call may write or delete (airtable.com/developers/web/api/update-multiple-records)."""

PAGE = 100
"""Records that one call may read."""

CALLS_PER_SECOND = 5
"""Calls per base and second, over all tokens (support.airtable.com, managing API call limits)."""

PENALTY_SECONDS = 30.0
"""How long a base answers 429 to everybody once the limit was passed (developers/web/api/errors)."""

OFFSET_EXPIRED = "LIST_RECORDS_ITERATOR_NOT_AVAILABLE"
"""What Airtable says of an offset that nobody used for some minutes: the list must be begun again."""

WEBHOOKS_PER_BASE = 10
WEBHOOK_DAYS = 7
"""A webhook ends after so long unless it is refreshed or its payloads are read; payloads are kept as long."""

MAC_HEADER = "X-Airtable-Content-MAC"


@dataclass(frozen=True, kw_only=True)
class BaseInfo:
    """A base that the token may see; writable: the token's user may edit records."""

    id: str
    name: str
    writable: bool = True


@dataclass(frozen=True, kw_only=True)
class TableInfo:
    """A table with its columns."""

    id: str
    name: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, kw_only=True)
class Write:
    """One record to write: cells by column id. record_id: write exactly that one instead of looking by our id."""

    lead_id: str
    cells: Mapping[str, Any]
    record_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record as Airtable has it; empty cells are absent."""

    id: str
    cells: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some records, and where the next page begins (None: this was the last)."""

    records: Sequence[Record]
    offset: str | None = None


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A webhook of a base. secret: base64, told only when it is made. expires_at: ISO, None: never."""

    id: str
    secret: str = ""
    url: str = ""
    cursor: int = 1
    enabled: bool = True
    expires_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a webhook payload says of one table: cells by record, and records that are gone.

    edited: of the changed records, ids of the columns that were changed; their other cells come along.
    """

    at: str
    created: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    changed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    edited: Mapping[str, Collection[str]] = field(default_factory=dict)
    destroyed: Sequence[str] = ()
    columns_changed: bool = False


@dataclass(frozen=True, kw_only=True)
class Changes:
    """A page of payloads. first: number of the first one; error: Airtable says that the webhook is broken."""

    items: Sequence[Change]
    first: int
    cursor: int
    more: bool = False
    error: str | None = None


class AirtableApi(Protocol):
    """What we ask of Airtable. Every method is one call; all raise ProviderError."""

    def check(self) -> Standing:
        """Whether Airtable knows the token."""

    def bases(self) -> list[BaseInfo]:
        """Every base that the token may see."""

    def tables(self, base_id: str) -> list[TableInfo]:
        """The tables of a base with their columns."""

    def upsert(
        self, base_id: str, table_id: str, id_column: str, records: Sequence[Write], *, typecast: bool
    ) -> list[Record]:
        """Write up to 10 records; gives each as Airtable keeps it, in the same order."""

    def delete(self, base_id: str, table_id: str, record_ids: Sequence[str]) -> None:
        """Delete up to 10 records."""

    def record(self, base_id: str, table_id: str, record_id: str) -> Record:
        """One record; Permanent when it is not there."""

    def page(
        self,
        base_id: str,
        table_id: str,
        columns: Sequence[str],
        *,
        changed_since: tuple[str, str] | None = None,
        offset: str | None = None,
    ) -> Page:
        """Up to 100 records, of all or of those changed after a moment."""

    def create_webhook(self, base_id: str, table_id: str, url: str) -> Hook:
        """Ask to be told of changes to a table."""

    def webhooks(self, base_id: str) -> list[Hook]:
        """The base's webhooks, those of other programs included."""

    def changes(self, base_id: str, hook_id: str, table_id: str, cursor: int) -> Changes:
        """What happened to a table since a cursor."""

    def refresh_webhook(self, base_id: str, hook_id: str) -> str | None:
        """Prolong a webhook's life; its new end."""

    def delete_webhook(self, base_id: str, hook_id: str) -> None:
        """Remove a webhook."""


def mac(secret: str, body: bytes) -> str:
    """The header's value for a ping: HMAC-SHA256 over the raw bytes, keyed with the decoded secret, in hex."""
    return "hmac-sha256=" + hmac.new(base64.b64decode(secret), body, hashlib.sha256).hexdigest()


def is_genuine(secret: str, body: bytes, header: str) -> bool:
    """Whether a ping is Airtable's; compared in constant time."""
    if not secret:
        return False
    try:
        expected = mac(secret, body)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(expected.encode(), header.strip().encode())
