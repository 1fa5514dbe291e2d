"""Airtable through pyairtable: its addresses and shapes, with our time-outs and our idea of errors.

pyairtable repeats 429s for three seconds although Airtable's pause is thirty, and repeats writes that timed out,
which doubles records. So nothing is repeated here but a connection that never came about; the pause and every repeat
are the caller's. Writes always use performUpsert on the column with our lead's id: the same call made twice is one
record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import requests

from app.kit import http, telemetry
from app.kit.errors import (
    Misconfigured,
    Permanent,
    ProviderError,
    RateLimited,
    Temporary,
    Unknown,
)
from app.leads.mapping import Column
from app.leads.providers import (
    BATCH,
    PAGE,
    PENALTY_SECONDS,
    BaseInfo,
    Change,
    Changes,
    Hook,
    Page,
    Record,
    TableInfo,
    Write,
)

ENDPOINT = "https://api.airtable.com"
CONNECT_SECONDS = 3.05
READ_SECONDS = 30.0  # Airtable answers most calls within a second, and a busy base's within ten
CONNECT_RETRIES = 3
BODY_BYTES = 20_000_000  # a page of 100 records with long texts
DETAIL_LENGTH = 500
SCOPES = ("data.records:read", "data.records:write", "schema.bases:read")
"""What a token must be allowed to; webhook:manage besides, where Airtable is to call us."""

WRITERS = frozenset({"create", "edit"})  # permission levels that may write records
PAYLOADS = 50

T = TypeVar("T")
_session = http.Reused(
    connect=CONNECT_SECONDS, read=READ_SECONDS, max_body=BODY_BYTES, connect_retries=CONNECT_RETRIES
)


class _SharedSession(requests.Session):
    """pyairtable writes the token into its session's headers; ours is shared by all tokens, so each call adds it."""

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        token = {"Authorization": str(self.headers["Authorization"])}
        kwargs["headers"] = {**token, **(kwargs.get("headers") or {})}
        return _session().request(*args, **kwargs)


class Airtable:
    """One token's way to Airtable. endpoint: another address than Airtable's own."""

    def __init__(self, token: str, *, endpoint: str | None = None) -> None:
        from pyairtable import Api  # ten megabytes, for those that speak with Airtable

        self._api = Api(token, retry_strategy=None, endpoint_url=endpoint or ENDPOINT, use_field_ids=True)
        self._api.session = _SharedSession()
        self._api.api_key = token

    def check(self) -> http.Standing:
        """GET /v0/meta/whoami (developers/web/api/get-user-id-scopes): any token may ask that.

        Airtable tells the scopes of tokens by OAuth only; the faults are those of SCOPES that it told and left out.
        """

        def ask() -> tuple[requests.Response, Any]:
            answer = self._api.session.request("GET", str(self._api.urls.whoami))
            answer.raise_for_status()
            return answer, answer.json()

        answer, told = _call(ask)
        scopes = (told.get("scopes") if isinstance(told, dict) else None) or SCOPES
        return http.Standing(
            at=http.said_at(answer.headers), faults=tuple(scope for scope in SCOPES if scope not in scopes)
        )

    def bases(self) -> list[BaseInfo]:
        """Every base that the token may see."""
        url = self._api.urls.bases
        pages = _call(lambda: list(self._api.iterate_requests("GET", url)))
        return [
            BaseInfo(
                id=item["id"], name=item.get("name", ""), writable=item.get("permissionLevel") in WRITERS
            )
            for page in pages
            for item in page.get("bases", [])
        ]

    def tables(self, base_id: str) -> list[TableInfo]:
        """The tables of a base with their columns, read past pyairtable's models: new types must not break us."""
        answer = self._ask("GET", self._api.base(base_id).urls.tables)
        return [
            TableInfo(
                id=item["id"],
                name=item.get("name", ""),
                columns=tuple(map(read_column, item.get("fields", []))),
            )
            for item in answer.get("tables", [])
        ]

    def upsert(
        self, base_id: str, table_id: str, id_column: str, records: Sequence[Write], *, typecast: bool
    ) -> list[Record]:
        """Write up to 10 records; the answer has each as Airtable keeps it, in the order of `records`."""
        if len(records) > BATCH:
            raise ValueError(f"at most {BATCH} records per call")
        rows = [
            {
                **({"id": item.record_id} if item.record_id else {}),
                "fields": {**item.cells, id_column: item.lead_id},
            }
            for item in records
        ]
        table = self._api.table(base_id, table_id)
        answer = _call(lambda: table.batch_upsert(rows, [id_column], typecast=typecast, use_field_ids=True))
        by_lead = {item["fields"].get(id_column): _record(item) for item in answer["records"]}
        missing = [item.lead_id for item in records if item.lead_id not in by_lead]
        if missing:
            raise Unknown("Airtable's answer leaves records out.", code="incomplete")
        return [by_lead[item.lead_id] for item in records]

    def delete(self, base_id: str, table_id: str, record_ids: Sequence[str]) -> None:
        """Delete up to 10 records."""
        table = self._api.table(base_id, table_id)
        _call(lambda: table.batch_delete(list(record_ids)[:BATCH]))

    def record(self, base_id: str, table_id: str, record_id: str) -> Record:
        """One record."""
        table = self._api.table(base_id, table_id)
        return _call(lambda: _record(table.get(record_id, use_field_ids=True)))

    def page(
        self,
        base_id: str,
        table_id: str,
        columns: Sequence[str],
        *,
        changed_since: tuple[str, str] | None = None,
        offset: str | None = None,
    ) -> Page:
        """Up to 100 records. changed_since: (name of a last-modified column, ISO time) for only those changed after."""
        table = self._api.table(base_id, table_id)
        options: dict[str, Any] = {"page_size": PAGE, "fields": list(columns), "use_field_ids": True}
        if changed_since is not None:
            options["formula"] = _changed_after(*changed_since)
        if offset:
            options["offset"] = offset
        answer = _call(
            lambda: self._api.request(
                "GET", table.urls.records, fallback=("POST", table.urls.records_post), options=options
            ),
        )
        return Page(
            records=[_record(item) for item in answer.get("records", [])], offset=answer.get("offset")
        )

    def create_webhook(self, base_id: str, table_id: str, url: str) -> Hook:
        """Ask to be told of changes to a table's records and columns."""
        specification = {
            "options": {
                "filters": {"dataTypes": ["tableData", "tableFields"], "recordChangeScope": table_id},
                "includes": {"includeCellValuesInFieldIds": "all"},
            }
        }
        body = {"notificationUrl": url, "specification": specification}
        answer = self._ask("POST", self._api.base(base_id).urls.webhooks, json=body)
        return Hook(
            id=answer["id"],
            secret=answer["macSecretBase64"],
            url=url,
            expires_at=answer.get("expirationTime"),
        )

    def webhooks(self, base_id: str) -> list[Hook]:
        """The base's webhooks, those of other programs included."""
        answer = self._ask("GET", self._api.base(base_id).urls.webhooks)
        return [
            Hook(
                id=item["id"],
                url=item.get("notificationUrl") or "",
                cursor=item.get("cursorForNextPayload", 1),
                enabled=item.get("isHookEnabled", True),
                expires_at=item.get("expirationTime"),
            )
            for item in answer.get("webhooks", [])
        ]

    def changes(self, base_id: str, hook_id: str, table_id: str, cursor: int) -> Changes:
        """What happened to a table since `cursor`, up to 50 payloads. Reading also prolongs the webhook's life."""
        url = self._hook_url(base_id, hook_id) + "/payloads"
        answer = self._ask("GET", url, params={"cursor": cursor, "limit": PAYLOADS})
        payloads = answer.get("payloads", [])
        error = next((item.get("code", "INVALID_HOOK") for item in payloads if item.get("error")), None)
        following = int(answer.get("cursor", cursor))
        return Changes(
            items=[_change(item, table_id) for item in payloads if not item.get("error")],
            first=following - len(payloads),
            cursor=following,
            more=bool(answer.get("mightHaveMore")),
            error=error,
        )

    def refresh_webhook(self, base_id: str, hook_id: str) -> str | None:
        """Prolong a webhook's life by seven days; the new end."""
        answer = self._ask("POST", self._hook_url(base_id, hook_id) + "/refresh")
        return answer.get("expirationTime") if isinstance(answer, dict) else None

    def delete_webhook(self, base_id: str, hook_id: str) -> None:
        """Remove a webhook."""
        self._ask("DELETE", self._hook_url(base_id, hook_id))

    def _hook_url(self, base_id: str, hook_id: str) -> str:
        return f"{self._api.base(base_id).urls.webhooks}/{hook_id}"

    def _ask(self, method: str, url: Any, **kwargs: Any) -> Any:
        return _call(lambda: self._api.request(method, str(url), **kwargs))


def _changed_after(column_name: str, since: str) -> str:
    """A formula; the moment is one we wrote, the name is whatever people called the column."""
    name = column_name.replace("\\", "\\\\").replace("}", "\\}")
    return f"IS_AFTER({{{name}}}, '{since}')"


def read_column(item: dict[str, Any]) -> Column:
    """A column of Airtable's schema."""
    options = item.get("options") or {}
    watched = options.get("referencedFieldIds")
    return Column(
        id=item["id"],
        name=item.get("name", ""),
        type=item.get("type", "unknown"),
        choices=tuple(choice.get("name", "") for choice in options.get("choices") or []),
        watches_all=not watched,
    )


def _record(item: Any) -> Record:
    return Record(id=item["id"], cells=item.get("fields", {}))


def _change(payload: dict[str, Any], table_id: str) -> Change:
    table = (payload.get("changedTablesById") or {}).get(table_id) or {}

    def cells(found: dict[str, Any]) -> dict[str, Any]:
        return found.get("cellValuesByFieldId") or {}

    changed, edited = {}, {}
    for record_id, item in (table.get("changedRecordsById") or {}).items():
        # Unchanged cells come along because they were asked for: a record we do not know yet is made from them.
        changed[record_id] = {**cells(item.get("unchanged") or {}), **cells(item.get("current") or {})}
        edited[record_id] = tuple(cells(item.get("current") or {}))
    return Change(
        at=payload.get("timestamp", ""),
        created={key: cells(item) for key, item in (table.get("createdRecordsById") or {}).items()},
        changed=changed,
        edited=edited,
        destroyed=table.get("destroyedRecordIds") or (),
        columns_changed=bool(
            table.get("destroyedFieldIds")
            or table.get("changedFieldsById")
            or table_id in (payload.get("destroyedTableIds") or ())
        ),
    )


def _call(work: Callable[[], T]) -> T:
    """Make a call, count it, and say what a failure means."""
    started = time.perf_counter()
    outcome = "ok"
    try:
        return work()
    except requests.HTTPError as error:
        failure = _meaning(error)
        outcome = telemetry.outcome_of(failure)
        raise failure from None
    except requests.exceptions.JSONDecodeError:
        outcome = "unknown"
        raise Unknown("Airtable's answer could not be read.", code="unreadable") from None
    except requests.RequestException as error:
        failure = http.failure(error, "Airtable")
        outcome = telemetry.outcome_of(failure)
        raise failure from None
    except (KeyError, TypeError, ValueError) as error:
        outcome = "unknown"
        raise Unknown(
            f"Airtable's answer could not be read ({type(error).__name__}).", code="unreadable"
        ) from None
    finally:
        telemetry.note_call("airtable", outcome, time.perf_counter() - started)


def _meaning(error: requests.HTTPError) -> ProviderError:
    """airtable.com/developers/web/api/errors; the body's error is an object, a word, or a list of errors."""
    response = error.response
    status = response.status_code
    code, detail = _said(response)
    code = code or str(status)
    if status == 429:
        return RateLimited("Airtable says that we call too often.", code="429", retry_after=PENALTY_SECONDS)
    if status == 401:
        return Misconfigured("Airtable does not accept the token.", code=code)
    if status == 403 and code != "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND":
        return Misconfigured("The token may not do this in Airtable.", code=code)
    if status == 503:
        return Temporary("Airtable is not available now.", code=str(status))
    if status >= 500:
        return Unknown(f"Airtable failed ({status}).", code=str(status))
    return Permanent(detail or f"Airtable refused the call ({status}).", code=code)


def _said(response: requests.Response) -> tuple[str, str]:
    try:
        body = response.json()
    except ValueError:
        return "", ""
    said = body.get("error", body.get("errors")) if isinstance(body, dict) else None
    if isinstance(said, list) and said:
        said = said[0]
    if isinstance(said, dict):
        code = said.get("type") or said.get("error") or ""
        return str(code)[:60], str(said.get("message") or "")[:DETAIL_LENGTH]
    return (str(said)[:60] if said else ""), ""
