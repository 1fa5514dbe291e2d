"""What a check is, what it finds, and how that is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import orjson
from flask_babel import gettext, ngettext

from app.kit import db
from app.kit.errors import Misconfigured, Permanent, ProviderError, Temporary
from app.kit.http import SIGNATURE_SECONDS, Standing

if TYPE_CHECKING:
    from app.kit.doctor.examination import Report

Level = Literal[
    "ok",
    "warning",  # works, and will trouble somebody one day
    "problem",  # something does not work, or will not in production
]

CHECK_SECONDS = 10.0
"""How long a check may take unless it says otherwise: a provider's connect and read time-outs fit in."""

CLOCK_SECONDS = 30
"""A clock that is off by this much is not kept by anybody; a tenth of what signatures bear."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found. what: a sentence. where: a variable, file or page. remedy: what to do, "" for ok.

    All in the language of the examination; none holds a secret or personal data.
    """

    level: Level
    what: str
    where: str = ""
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A question to one part.

    name: stable, in English, such as ``database leads``. run: gives findings, and further checks that are asked on
    their own, so that one of ten channels that hangs costs the other nine nothing. calls_out: asks somebody outside,
    hence left out by --offline. seconds: how long it may take.
    """

    name: str
    run: Callable[[], Iterable[Finding | Check]]
    calls_out: bool = False
    seconds: float = CHECK_SECONDS


def ok(what: str, where: str = "") -> Finding:
    """Nothing is to be done."""
    return Finding(level="ok", what=what, where=where)


def warning(what: str, where: str, remedy: str) -> Finding:
    """It works, and will trouble somebody one day."""
    return Finding(level="warning", what=what, where=where, remedy=remedy)


def fault(what: str, where: str, remedy: str) -> Finding:
    """Something does not work, or will not in production."""
    return Finding(level="problem", what=what, where=where, remedy=remedy)


def refused(error: ProviderError, provider: str, where: str) -> Finding:
    """What a provider's answer to a check means. The error's own text is left out: it may quote what it refused."""
    values = {"provider": provider, "code": error.code or type(error).__name__}
    if isinstance(error, Misconfigured | Permanent):
        return fault(
            gettext("%(provider)s refuses the credentials or the account (%(code)s).", **values),
            where,
            gettext("Check them in the console of %(provider)s and enter them again.", **values),
        )
    if isinstance(error, Temporary) and error.code == "connect":
        return fault(
            gettext("%(provider)s cannot be reached.", **values),
            where,
            gettext("Check the address, DNS, and whether a firewall lets this machine out."),
        )
    return fault(
        gettext("%(provider)s gave no usable answer (%(code)s).", **values),
        where,
        gettext("Look at the status page of %(provider)s and try again in a few minutes.", **values),
    )


def unreadable(where: str) -> Finding:
    """Stored credentials that our key does not open."""
    return fault(
        gettext("Stored credentials cannot be read: SECRET_KEY has changed."),
        where,
        gettext("Put the former key into SECRET_KEY_OLD, or enter the credentials again."),
    )


def account(
    ask: Callable[[], Standing],
    provider: str,
    where: str,
    faults: Mapping[str, Finding],
    refusals: Mapping[str, Finding] | None = None,
) -> Iterator[Finding]:
    """What a provider says of our account.

    ask: of its adapter. faults: what each code of `Standing.faults` means. refusals: what an error's code means, where
    that can be said better than `refused` does.
    """
    try:
        standing = ask()
    except ProviderError as error:
        yield (refusals or {}).get(error.code or "") or refused(error, provider, where)
        return
    yield from clock_remark(standing.at, provider, where)
    yield from (faults[code] for code in standing.faults)
    yield ok(gettext("%(provider)s accepts the credentials.", provider=provider), where)


def clock_remark(theirs: datetime | None, provider: str, where: str) -> list[Finding]:
    """A finding when our clock and somebody else's differ; none when they agree or nobody told the time."""
    if theirs is None:
        return []
    seconds = round((db.utcnow() - theirs).total_seconds())
    if abs(seconds) < CLOCK_SECONDS:
        return []
    what = (
        gettext("This machine's clock is %(seconds)d s ahead of %(other)s.", seconds=seconds, other=provider)
        if seconds > 0
        else gettext(
            "This machine's clock is %(seconds)d s behind %(other)s.", seconds=-seconds, other=provider
        )
    )
    remedy = gettext(
        "Switch on NTP (timedatectl set-ntp true); signatures are refused from %(limit)d s on.",
        limit=SIGNATURE_SECONDS,
    )
    return [(fault if abs(seconds) >= SIGNATURE_SECONDS else warning)(what, where, remedy)]


def short_url(url: str) -> str:
    """The URL without user, password, query: what may be shown of an address that holds a secret."""
    parts = urlsplit(url)
    if not parts.hostname:
        return f"{parts.scheme}://{parts.path}"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def as_json(reports: Iterable[Report]) -> bytes:
    """The reports for machines: an object with status and findings, in the order of the checks."""
    found = [
        {
            "check": report.check,
            "level": item.level,
            "what": item.what,
            "where": item.where,
            "remedy": item.remedy,
        }
        for report in reports
        for item in report.findings
    ]
    levels = {item["level"] for item in found}
    status = next((level for level in ("problem", "warning") if level in levels), "ok")
    document: dict[str, Any] = {"status": status, "findings": found}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def as_text(reports: Iterable[Report]) -> str:
    """The reports for people: a line each, what to do below it, a sum at the end."""
    names = {"ok": gettext("ok"), "warning": gettext("warning"), "problem": gettext("problem")}
    width = max(map(len, names.values()))
    lines, counts = [], dict.fromkeys(names, 0)
    for report in reports:
        for item in report.findings:
            counts[item.level] += 1
            where = f"{item.where}: " if item.where else ""
            lines.append(f"{names[item.level]:<{width}}  {where}{item.what}")
            if item.remedy:
                lines.append(f"{'':<{width}}  → {item.remedy}")
    problems = ngettext("%(num)d problem", "%(num)d problems", counts["problem"])
    warnings = ngettext("%(num)d warning", "%(num)d warnings", counts["warning"])
    lines.append(
        gettext(
            "%(problems)s, %(warnings)s, %(fine)d ok", problems=problems, warnings=warnings, fine=counts["ok"]
        )
    )
    return "\n".join(lines)
