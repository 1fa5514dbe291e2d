"""Every call to Airtable waits its turn: five a second per base is the limit, and passing it costs half a minute.

The pace is shared by all processes, and one below the limit, because calls that leave evenly may arrive in a bunch.
One call at a time per connection for the same reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError

from app.kit import telemetry
from app.kit.db import db, transaction
from app.kit.errors import Misconfigured, Permanent, ProviderError, RateLimited, Unknown
from app.kit.redis_client import RedisError, redis
from app.kit.resilience import TokenBucket, breaker
from app.kit.secrets import Undecryptable
from app.leads.commands import airtable_turns as turns
from app.leads.commands.airtable_turns import LostTurn, Turn
from app.leads.models import AirtableConnection
from app.leads.providers import PENALTY_SECONDS, AirtableApi, TableInfo
from app.leads.providers.airtable import Airtable
from app.leads.queries import airtable as queries

RATE = 4.0
"""Calls a second per base."""

BURST = 1.0
"""None saved up: four saved and four fresh ones would be eight within a second."""

LONGEST_WAIT = 5.0
"""Seconds to wait for a call's turn before leaving the base to the others."""

SUSPECT = frozenset(
    {
        "NOT_FOUND", "404", "TABLE_NOT_FOUND", "VIEW_NAME_NOT_FOUND", "MODEL_ID_NOT_FOUND",
        "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", "UNKNOWN_FIELD_NAME", "UNKNOWN_FIELD_NAMES", "INVALID_FILTER_BY_FORMULA",
        "INVALID_VALUE_FOR_COLUMN",
    }
)  # fmt: skip
"""Errors behind which a base, table or column may have gone or changed; the schema tells."""

GONE = frozenset({"NOT_FOUND", "404", "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND"})

log = telemetry.get_logger("leads")
sleep: Callable[[float], None] = time.sleep
T = TypeVar("T")


class Stopped(Exception):
    """The connection cannot go on until a person has looked, and says so already; or its table has changed."""


def closed_key(base_id: str) -> str:
    """Redis key that exists while a base refuses everybody."""
    return f"embudo:airtable:closed:{base_id}"


@dataclass(frozen=True)
class Flight(Generic[T]):
    """A call under way."""

    base_id: str
    guard: ExitStack
    future: Future[T]

    def result(self) -> T:
        """What came of it. Raises ProviderError."""
        with self.guard:
            try:
                return self.future.result()
            except RateLimited as error:
                _close(self.base_id, error.retry_after or PENALTY_SECONDS)
                raise


class Calls:
    """Makes a turn's calls. made: how many since `take` was last asked; they are counted with what they brought."""

    def __init__(self, turn: Turn, api: AirtableApi | None = None) -> None:
        self.turn = turn
        self.api = api or Airtable(turn.token, endpoint=turn.endpoint)
        self._made = 0
        self._checked = False
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="airtable")

    def take(self) -> int:
        """How many calls were made since the last time, to be counted."""
        made, self._made = self._made, 0
        return made

    def __call__(self, work: Callable[[AirtableApi], T]) -> T:
        """One call, when its turn has come. Raises ProviderError."""
        return self.start(work).result()

    def elsewhere(self, base_id: str, api: AirtableApi, work: Callable[[AirtableApi], T]) -> T:
        """The same in another base."""
        return self.start(work, base_id=base_id, api=api).result()

    def start(
        self, work: Callable[[AirtableApi], T], *, base_id: str | None = None, api: AirtableApi | None = None
    ) -> Flight[T]:
        """Begin a call when its turn has come, so that what came before can be recorded while it is under way."""
        base_id, api = base_id or self.turn.base_id, api or self.api
        _await(base_id)
        guard = ExitStack()
        guard.enter_context(breaker(f"airtable:{base_id}"))
        self._made += 1
        return Flight(base_id, guard, self._threads.submit(copy_context().run, work, api))

    def close(self) -> None:
        """Wait for a call that is still under way; nobody will record it, so it will be repeated."""
        self._threads.shutdown(wait=True)

    def check_schema(self, error: Permanent) -> None:
        """Look whether the table and its columns are still there; takes over new names.

        Raises Stopped, having said why, when something that is needed has gone; also, without stopping the connection,
        when a type or name that this turn works with has changed.
        """
        if self._checked or error.code not in SUSPECT:
            return
        self._checked = True
        try:
            tables = self(lambda api: api.tables(self.turn.base_id))
        except Permanent as gone:
            if gone.code in GONE:
                self._stop("base_gone", "")
            raise
        table = next((item for item in tables if item.id == self.turn.table_id), None)
        if table is None:
            self._stop("table_gone", "")
            return
        known = {column.id for column in table.columns}
        missing = [item.column_name or item.column for item in self.turn.pairs if item.column not in known]
        missing += [self.turn.id_column] if self.turn.id_column and self.turn.id_column not in known else []
        if missing:
            self._stop("column_gone", ", ".join(missing))
        with transaction():
            turns.refresh_columns(self.turn, plain_columns(table), table.name)
        types = {column.id: column.type for column in table.columns}
        names = {column.id: column.name for column in table.columns}
        if any(types[item.column] != item.type for item in self.turn.pairs) or (
            names.get(self.turn.modified_column, "") != self.turn.modified_name
        ):
            raise Stopped(
                "changed"
            )  # this turn works with what is no more; the next one begins with the new types

    def _stop(self, code: str, detail: str) -> None:
        with transaction():
            turns.stop(self.turn, code, detail)
            turns.count_calls(self.turn.base_id, self.take())
        raise Stopped(code)


def plain_columns(table: TableInfo) -> list[dict[str, object]]:
    """A table's columns JSON-plain, as a connection keeps them."""
    return [
        {
            "id": column.id,
            "name": column.name,
            "type": column.type,
            "choices": list(column.choices),
            "watches_all": column.watches_all,
        }
        for column in table.columns
    ]


def ask(row: AirtableConnection, base_id: str, work: Callable[[AirtableApi], T]) -> T:
    """One call for a person who sets up a connection; it keeps the pace and is counted as all are.

    base_id: which base it concerns, "" for none. Raises ProviderError.
    """
    try:
        token, endpoint = queries.token_of(row), queries.endpoint_of(row)
    except Undecryptable:
        token, endpoint = "", None
    if not token:
        raise Misconfigured("There is no token.", code="no_token")
    db.session.rollback()  # nobody waits with a transaction open
    api = Airtable(token, endpoint=endpoint)
    if not base_id:
        return work(api)
    _await(base_id)
    try:
        return work(api)
    except RateLimited as error:
        _close(base_id, error.retry_after or PENALTY_SECONDS)
        raise
    finally:
        with transaction():
            turns.count_calls(base_id, 1)


def _await(base_id: str) -> None:
    try:
        left = redis().pttl(closed_key(base_id))
    except RedisError:
        left = 0
    if left > 0:
        raise RateLimited("This base rests.", code="429", retry_after=left / 1000)
    bucket = TokenBucket(name=f"airtable:{base_id}", rate=RATE, burst=BURST)
    waited = 0.0
    while wait := bucket.take():
        if waited > LONGEST_WAIT:
            raise RateLimited("Others use this base.", code="busy", retry_after=wait)
        sleep(wait)
        waited += wait


def _close(base_id: str, seconds: float) -> None:
    try:
        redis().set(closed_key(base_id), "1", px=int(seconds * 1000))
    except RedisError:
        return


@contextmanager
def calls_of(turn: Turn) -> Iterator[Calls]:
    """A turn's calls; the turn ends with the block. Whatever breaks in it lets this connection rest, and no other.

    Were a fault of ours to pass, the connection would be the first again at once, and those after it would wait.
    """
    calls = Calls(turn)
    trouble: ProviderError | None = None
    try:
        yield calls
    except ProviderError as error:
        trouble = error
    except (Stopped, LostTurn):
        pass
    except Exception as error:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise  # no fault in this turn's work
        log.exception("airtable turn broke", connection_id=turn.connection_id)
        trouble = Unknown(type(error).__name__, code="bug")
    finally:
        _finish(calls, trouble)


def _finish(calls: Calls, trouble: ProviderError | None) -> None:
    """End a turn, resting first when something was wrong."""
    calls.close()
    with transaction():
        if trouble is not None:
            turns.hold(calls.turn, trouble)
        turns.end_turn(calls.turn, calls=calls.take())
