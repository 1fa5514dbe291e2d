"""What `flask ops doctor` asks about webhooks that leave: endpoints that nobody answers at any more."""

from __future__ import annotations

from collections.abc import Iterator

from flask_babel import gettext, ngettext

from app.kit.doctor import Check, Finding, ok, warning
from app.webhooks import queries

WHERE = "/admin/webhooks"


def checks() -> list[Check]:
    """How the endpoints do."""
    return [Check(name="webhooks", run=_endpoints)]


def _endpoints() -> Iterator[Finding]:
    if count := queries.count_disabled_by_failure():
        yield warning(
            ngettext(
                "%(num)s endpoint was switched off because it failed.",
                "%(num)s endpoints were switched off because they failed.",
                count,
            ),
            WHERE,
            gettext("Tell their owners, switch them on, and replay what failed."),
        )
    if count := queries.count_failing():
        yield warning(
            ngettext("%(num)d endpoint fails now.", "%(num)d endpoints fail now.", count),
            WHERE,
            gettext("Look at the answers in their log."),
        )
    yield ok(
        ngettext("%(num)d endpoint is known.", "%(num)d endpoints are known.", queries.count_endpoints()),
        WHERE,
    )
