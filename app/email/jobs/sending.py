"""Mails leave: the worker's side of the queue in email_message.

A batch is claimed, then handed out in small groups: mark the group and record the one before in one commit, send,
go on. Larger groups cost fewer commits; but after a crash nobody knows of a whole group whether it has left. So a few
messages, such as a lead's welcome, are each marked at the very moment when the provider gets them: whatever happens
before leaves them untouched, and they are sent by the next worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from email.utils import formataddr, parseaddr
from functools import partial
from itertools import islice
from typing import Any

from flask import current_app

from app.email import commands, queries
from app.email.address import Address, parse_address
from app.email.commands.claiming import Claimed
from app.email.mime import Letter
from app.email.providers import MailSender, Result
from app.email.providers.outbox import OutboxSender
from app.email.queries import ChosenWay
from app.kit import outbox, telemetry
from app.kit.context import REQUEST_ID
from app.kit.db import new_id, transaction, utcnow
from app.kit.errors import Misconfigured, ProviderError, RateLimited, Temporary, Unknown
from app.kit.jobs import drain_until, is_over, ring
from app.kit.resilience import BreakerOpen, TokenBucket, breaker, pause, paused

BATCH = 100
"""Messages claimed at a time; they share one connection."""

GROUP = 10
"""Messages marked and recorded by one commit: what a crash may leave unknown. bench/mail.py: 0.65 of what smtplib
alone sends; 0.2 with 1."""

FEW = 3
"""So many messages or fewer go one by one, each with a commit of its own."""

GROUP_SECONDS = 10.0
"""A group that takes longer is cut short: its lease must not end while it is sent."""

LOST_IN_A_ROW = 3
"""Letters lost to connections or silence in a row after which the provider counts as failing."""

PAUSE_SECONDS = 30.0
"""How long a provider that found us too fast is left alone when it does not say."""

NAP_SECONDS = 1.0
"""How long to wait for the next token of a rate; a longer wait is better spent elsewhere."""

NOBODY = "Embudo <no-reply@localhost>"
"""The sender of mails that only go into the local outbox."""

log = telemetry.get_logger("email")


class TooFast(RateLimited):
    """Our own limit for a provider is reached; nothing was tried."""


def sender_address(config: Mapping[str, Any]) -> str:
    """What goes into From: MAIL_DEFAULT_SENDER (text, or a pair of name and address), else MAIL_USERNAME.

    Raises Misconfigured when neither is an address.
    """
    given = config.get("MAIL_DEFAULT_SENDER")
    text = formataddr(tuple(given)) if isinstance(given, list | tuple) else str(given or "")
    for candidate in (text, str(config.get("MAIL_USERNAME") or "")):
        name, address = parseaddr(candidate)
        if "@" not in address:
            continue
        if address.isascii():
            return candidate
        known = parse_address(address)  # a domain outside ASCII has an ASCII form; a local part has none
        if isinstance(known, Address):
            return formataddr((name, known.ascii))
    raise Misconfigured("MAIL_DEFAULT_SENDER is missing: who are the mails from?", code="no_sender")


class LostClaim(Exception):
    """The message that was to be handed over is not ours any more."""


class Route:
    """A way out while a job uses it: its adapter, its limits, its faults."""

    def __init__(
        self, name: str, sender: MailSender, config: Mapping[str, Any], rate: float | None = None
    ) -> None:
        self.name, self.sender = name, sender
        self.breaker = f"mail:{name}"
        self._config = config
        self._rate = rate

    def open(self) -> str:
        """Connect; what goes into From. Raises Temporary or Misconfigured."""
        address = NOBODY if self.name == OutboxSender.name else sender_address(self._config)
        wait = paused(self.breaker)
        if wait:
            raise RateLimited("This provider asked us to wait.", code="paused", retry_after=wait)
        self.sender.open()
        return address

    def allowance(self, most: int) -> int:
        """How many letters may go now, at most `most`; waits a moment for the first. Raises TooFast."""
        rate = self._rate if self._rate is not None else self.sender.rate()
        if not rate:
            return most
        bucket = TokenBucket(name=self.breaker, rate=rate, burst=max(1.0, rate))
        taken, wait = bucket.take_up_to(most)
        if not taken and wait <= NAP_SECONDS:
            time.sleep(wait)
            taken, wait = bucket.take_up_to(most)
        if not taken:
            raise TooFast("The rate set for this provider is used up.", code="rate", retry_after=wait)
        return taken

    def send(
        self,
        letters: Sequence[Letter],
        results: list[Result],
        reasons: dict[str, ProviderError],
        begin: Callable[[str], None],
    ) -> None:
        """Send letters until all are, or the time is over; `begin` is called before each is handed over.

        Adds to `results` what is settled, and to `reasons` why letters certainly did not leave by this way: another
        may take them. Raises Temporary, with its kinds, when this way is of no use for now.
        """
        until = time.monotonic() + GROUP_SECONDS
        begun: set[str] = set()

        def handing_over(ref: str) -> None:
            begin(ref)
            begun.add(ref)

        known: set[str] = set()
        seconds = telemetry.PROVIDER_SECONDS.labels(provider=f"mail_{self.name}")
        trouble: ProviderError | None = None
        lost = 0
        try:
            started = time.perf_counter()
            for result in self.sender.send(letters, handing_over):
                seconds.observe(time.perf_counter() - started)
                known.add(result.ref)
                error = result.error
                if error is None or not result.at_provider:
                    lost = 0
                else:
                    trouble, lost = error, lost + 1
                if error is not None and result.at_provider and not isinstance(error, Unknown):
                    reasons[result.ref] = error
                else:
                    results.append(result)
                if isinstance(error, Misconfigured | RateLimited) and result.at_provider:
                    raise error
                if lost >= LOST_IN_A_ROW or time.monotonic() > until:
                    break
                started = time.perf_counter()
        finally:
            # Handed over, but no answer came out of the adapter (the job is being stopped): nobody knows.
            for ref in begun - known:
                results.append(Result(ref=ref, error=Unknown("Sending was interrupted.", code="interrupted")))
        if trouble is not None and lost >= min(LOST_IN_A_ROW, len(known)):
            raise trouble if isinstance(trouble, Temporary) else Temporary(trouble.detail, code=trouble.code)


class Batch:
    """Claimed messages on their way out."""

    def __init__(self, claimed: Sequence[Claimed], ends: float) -> None:
        self.waiting = {one.letter.ref: one for one in claimed}
        self._claims = {one.letter.ref: one.until for one in claimed}
        self._ends = ends
        self._marked: set[str] = set()
        self._results: list[Result] = []
        self._reasons: dict[str, ProviderError] = {}

    def send(self, routes: Sequence[Route]) -> bool:
        """Try one way after the other; False when there is no way for now."""
        troubles: list[tuple[Route, ProviderError]] = []
        try:
            for route in routes:
                try:
                    self._hand_out(route)
                except Temporary as error:
                    troubles.append((route, error))
                    log.warning("mail provider passed over", provider=route.name, code=error.code)
                finally:
                    self._write(route)
                if not self.waiting or is_over(self._ends):
                    break
            if troubles:
                self._note(troubles)
            if self.waiting and len(troubles) == len(routes):
                self._release(troubles, provider=routes[0].name)
            elif self._reasons:
                self._release([], provider=routes[0].name)
        finally:
            self._give_back()
            outbox.wake(
                "email"
            )  # once for the batch: each round of the relay costs as much as sending a mail
        return len(troubles) < len(routes)

    def _hand_out(self, route: Route) -> None:
        """Send what waits by one way, group by group, until the time is over."""
        tried: set[str] = set()
        while not is_over(self._ends):
            group = list(islice((ref for ref in self.waiting if ref not in tried), GROUP))
            if not group:
                return
            is_few = len(group) <= FEW
            with breaker(route.breaker):
                address = route.open()
                group = group[: route.allowance(1 if is_few else len(group))]
                if not is_few:
                    group = self._mark(route, group)
                tried.update(group)
                letters = [replace(self.waiting[ref].letter, sender=address) for ref in group]
                before = REQUEST_ID.set(REQUEST_ID.get())  # _begin sets each letter's; then the job's is back
                try:
                    route.send(letters, self._results, self._reasons, partial(self._begin, route))
                except LostClaim:
                    route.sender.close()  # the conversation with the server stopped in the middle
                finally:
                    REQUEST_ID.reset(before)
                    for result in self._results:
                        self.waiting.pop(result.ref, None)
                        self._reasons.pop(result.ref, None)

    def _mark(self, route: Route, group: Sequence[str]) -> list[str]:
        """Record what the group before became and mark this one, in one commit; those that are still ours."""
        fresh = [self.waiting[ref] for ref in group if ref not in self._marked]
        with transaction():
            commands.record(self._results, provider=route.name, claims=self._claims)
            ours = commands.note_handing_over(fresh, provider=route.name)
        self._results.clear()
        self._claims |= ours
        self._marked |= ours.keys()
        for claimed in fresh:
            if claimed.letter.ref not in ours:
                del self.waiting[claimed.letter.ref]
        return [ref for ref in group if ref in self.waiting]

    def _begin(self, route: Route, ref: str) -> None:
        """Mark a message that is not yet; raises LostClaim."""
        if ref not in self._marked and not self._mark(route, [ref]):
            raise LostClaim(ref)
        REQUEST_ID.set(self.waiting[ref].request_id)  # the call is made on behalf of that request

    def _write(self, route: Route) -> None:
        if self._results:
            with transaction():
                commands.record(self._results, provider=route.name, claims=self._claims)
            self._results.clear()

    def _note(self, troubles: Sequence[tuple[Route, ProviderError]]) -> None:
        for route, error in troubles:
            if isinstance(error, RateLimited) and not isinstance(error, TooFast) and error.code != "paused":
                pause(route.breaker, error.retry_after or PAUSE_SECONDS)
        real = [
            (route, error)
            for route, error in troubles
            if not isinstance(error, BreakerOpen | TooFast) and error.code != "paused"
        ]
        if real:
            with transaction():
                for route, error in real:
                    commands.note_fault(route.name, error)

    def _release(self, troubles: Sequence[tuple[Route, ProviderError]], *, provider: str) -> None:
        """Give back what no way took, each with the most telling of its own reason and the ways'."""
        worst = min(troubles, key=lambda item: _telling(item[1]), default=None)
        given: dict[str, ProviderError] = {}
        for ref in self.waiting:
            known = [error for error in (self._reasons.get(ref), worst and worst[1]) if error is not None]
            if known:
                given[ref] = min(known, key=_telling)
        with transaction():
            commands.release(
                given.items(), provider=worst[0].name if worst else provider, claims=self._claims
            )
        for ref in given:
            del self.waiting[ref]

    def _give_back(self) -> None:
        """What was not begun is due again at once."""
        if self.waiting:
            with transaction():
                commands.give_back({ref: self._claims[ref] for ref in self.waiting})


def _telling(error: ProviderError) -> int:
    """Which of several reasons a message keeps: the one that says most about when it may leave."""
    for place, kind in enumerate((RateLimited, BreakerOpen, Misconfigured)):
        if isinstance(error, kind):
            return (1, 3, 2)[place]
    return 0


def routes_of(config: Mapping[str, Any]) -> list[Route]:
    """The ways out in the order in which they are tried; the local outbox where nobody wants one.

    Empty when the ways that are wanted cannot be used: then mails wait.
    """
    ways = queries.all_ways(config)
    if queries.fate_of_mails(ways) == queries.STAY:
        return [Route(OutboxSender.name, OutboxSender(), config)]
    return [_route(one) for one in ways if one.is_usable]


def _route(chosen: ChosenWay) -> Route:
    return Route(chosen.name, chosen.way.make(chosen.config), chosen.config, chosen.rate)


def has_due() -> bool:
    """Whether send_due has anything to do."""
    return queries.has_due(current_app.config)


def send_due() -> None:
    """Send all due messages, by the first way out that works; ends early when none does or none can be used."""
    ends = drain_until()
    config = current_app.config
    with transaction():
        commands.take_back()
    routes = routes_of(config)
    if not routes:
        _wait_for_way(ends)
        return
    is_helped = False
    try:
        while not is_over(ends):
            with transaction():
                claimed = commands.claim_due(BATCH, public_url=config.get("PUBLIC_URL") or "")
            if len(claimed) == BATCH and not is_helped:
                ring(commands.SEND_JOB)  # more than this worker carries at once: another one may help
                is_helped = True
            if not claimed or not Batch(claimed, ends).send(routes):
                return
        ring(commands.SEND_JOB)
    finally:
        for route in routes:
            route.sender.close()


def _wait_for_way(ends: float) -> None:
    """Say on all due messages why they do not leave."""
    while not is_over(ends):
        with transaction():
            if not commands.wait_for_way(BATCH):
                return
    ring(commands.SEND_JOB)


def try_way(name: str, to: Address, subject: str, text: str) -> Result:
    """Send a mail right now by one way, whether it is in use or not. Raises Temporary when it cannot be reached."""
    chosen = next(one for one in queries.all_ways(current_app.config) if one.name == name)
    if not chosen.is_configured:
        raise Misconfigured(f"{chosen.way.needs} is missing.", code="not_configured")
    route = _route(chosen)
    letter = Letter(
        ref=new_id(),
        sender=sender_address(chosen.config),
        to=to.ascii,
        subject=subject,
        text=text,
        html=None,
        date=utcnow(),
    )
    try:
        route.sender.open()
        (result,) = route.sender.send([letter], lambda _: None)
    finally:
        route.sender.close()
    return result
