"""Asks all checks at once. None can hold up or hide another: each has a thread, a limit, and its own failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from flask import Flask
from flask_babel import force_locale, gettext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.kit import telemetry
from app.kit.doctor.findings import Check, Finding, fault, unreadable, warning
from app.kit.redis_client import RedisError
from app.kit.secrets import Undecryptable

AT_ONCE = 12
"""Checks asked at the same time; the engines of a shell have three connections each, and these take turns."""

log = telemetry.get_logger("doctor")


@dataclass(kw_only=True)
class Report:
    """What a check found. deadline: monotonic time after which nothing more is waited for. first: as in Check."""

    check: str
    findings: list[Finding] = field(default_factory=list)
    deadline: float = 0.0
    first: bool = False


_Told = tuple[Report, Finding | Check | None]


def examine(app: Flask, checks: Iterable[Check], *, language: str, offline: bool = False) -> list[Report]:
    """Ask every check; the reports in the order of the checks, those a check asked for right behind it.

    language: es or en, of all findings. offline: leave out what calls a provider or our own public address.
    """
    told: SimpleQueue[_Told] = SimpleQueue()
    reports: list[Report] = []
    waiting: list[tuple[Check, Report]] = []
    running: list[Report] = []

    def take(check: Check, place: int) -> None:
        if check.calls_out and offline:
            return
        report = Report(check=check.name, first=check.first)
        reports.insert(place, report)
        waiting.append((check, report))

    for check in checks:
        take(check, len(reports))
    waiting.sort(key=lambda item: not item[0].first)
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            if not waiting[0][0].first and any(report.first for report in running):
                break
            check, report = waiting.pop(0)
            report.deadline = time.monotonic() + check.seconds
            running.append(report)
            # A daemon: what hangs in a library's call cannot be stopped, and must not keep the program alive.
            threading.Thread(target=_ask, args=(app, check, report, told, language), daemon=True).start()
        report_, item = _next(told, running, language, app)
        if report_ not in running:
            continue  # it speaks after its time
        if item is None:
            running.remove(report_)
        elif isinstance(item, Check):
            take(item, _behind(reports, report_))
        else:
            report_.findings.append(item)
    return reports


def _behind(reports: list[Report], parent: Report) -> int:
    """Where the next check that `parent` asked for belongs: behind those it asked for before."""
    place = reports.index(parent) + 1
    while place < len(reports) and reports[place].check.startswith(f"{parent.check} "):
        place += 1
    return place


def _next(told: SimpleQueue[_Told], running: list[Report], language: str, app: Flask) -> _Told:
    """The next thing that somebody says, or that the most impatient one's time is over."""
    first = min(running, key=lambda report: report.deadline)
    try:
        return told.get(timeout=max(0.0, first.deadline - time.monotonic()))
    except Empty:
        with app.app_context(), force_locale(language):
            first.findings.append(
                fault(
                    gettext("No answer in time."),
                    first.check,
                    gettext(
                        "Whatever it asks hangs or is too slow; look at that host and the network to it."
                    ),
                )
            )
        return first, None


def _ask(app: Flask, check: Check, report: Report, told: SimpleQueue[_Told], language: str) -> None:
    try:
        with app.app_context(), force_locale(language):
            try:
                for item in check.run():
                    told.put((report, item))
            except Exception as error:  # noqa: BLE001  # a check that breaks is a finding, and hides no other
                told.put((report, _broken(check, error)))
    finally:
        told.put((report, None))  # after the context has given its database connection back


def _broken(check: Check, error: Exception) -> Finding:
    values: dict[str, Any] = {"kind": type(error).__name__}
    if isinstance(error, DBAPIError | PoolTimeout):
        return warning(
            gettext("Left out, because the database did not answer as it should (%(kind)s).", **values),
            check.name,
            gettext("Mend the database first."),
        )
    if isinstance(error, RedisError):
        return warning(
            gettext("Left out, because Redis did not answer (%(kind)s).", **values),
            check.name,
            gettext("Mend Redis first."),
        )
    if isinstance(error, Undecryptable):
        return unreadable(check.name)
    log.debug("check failed", check=check.name, exc_info=error)
    return fault(
        gettext("The check itself failed (%(kind)s).", **values),
        check.name,
        gettext("Run it with LOG_LEVEL=DEBUG and report what it says."),
    )
