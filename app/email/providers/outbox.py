"""The way out when no mail server is set: mails stay here, to be read in the admin.

So the product works without credentials, and nobody writes to real customers by trying it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from app.email.mime import Letter, build
from app.email.providers import Result
from app.kit.errors import Permanent
from app.kit.http import Standing


class OutboxSender:
    """Accepts everything that a mail server could accept; delivers nothing."""

    name = "outbox"

    def open(self) -> None:
        """Always ready."""

    def send(self, batch: Iterable[Letter], handing_over: Callable[[str], None]) -> Iterator[Result]:
        """Build each message for real, so that what would fail at a server fails here too."""
        for letter in batch:
            try:
                build(letter)
            except ValueError as error:
                yield Result(ref=letter.ref, error=Permanent(str(error), code="bad_message"))
                continue
            yield Result(ref=letter.ref, provider_message_id=letter.message_id)

    def rate(self) -> float | None:
        """As fast as we can."""
        return None

    def check(self) -> Standing:
        """Always good."""
        return Standing()

    def close(self) -> None:
        """Nothing is open."""
