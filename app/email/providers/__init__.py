"""How messages leave: one protocol, one adapter per way out.

A provider may fail at any moment, also after it took the message. So the adapter says per message what is known,
whether the next message would meet the same, and calls `handing_over` just before the point of no return.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from app.email.mime import Letter
from app.kit.errors import ProviderError
from app.kit.http import Standing
from app.kit.storable import storable

REFERENCE = "embudo_message_id"
"""Under this name providers keep our id of a message and give it back with what they tell of it."""

FAULTS = ("may_not_send", "sandbox", "sending_paused", "under_review")
"""Why an account whose credentials are right does not send as it should, for Standing.faults."""

_ADDRESS = re.compile(r"[^\s<>\"']+@[^\s<>\"']+")
_LONGEST_DETAIL = 300


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one letter: accepted (error is None), or the error that says why not.

    ref: the letter's ref; provider_message_id: what the provider calls it, when it tells.
    at_provider: the error is not about this letter; another provider should try it, and this one rest.
    no_such_mailbox: the recipient's address does not exist, so that nothing should be sent there again.
    """

    ref: str
    error: ProviderError | None = None
    provider_message_id: str | None = None
    at_provider: bool = False
    no_such_mailbox: bool = False


class MailSender(Protocol):
    """A way out for letters."""

    name: str

    def open(self) -> None:
        """Be ready to send, so that what fails before the first letter fails here.

        Raises Temporary or Misconfigured when the provider cannot be reached or refuses us.
        """
        ...

    def send(self, batch: Iterable[Letter], handing_over: Callable[[str], None]) -> Iterator[Result]:
        """Send the letters one after the other over one connection and yield a result for each, at once.

        `handing_over(ref)` is called right before a letter may become delivered; an error before that call means
        that nothing was sent. A letter for which no result was yielded (the caller stopped, or the adapter raised)
        was not touched, unless handing_over was called for it.
        Raises Temporary or Misconfigured when the provider cannot be reached at all.
        """
        ...

    def rate(self) -> float | None:
        """Mails a second that the provider allows this account, when it tells; None otherwise."""
        ...

    def check(self) -> Standing:
        """Ask whether the provider lets us in, sending nothing; raises ProviderError. Faults are among FAULTS."""
        ...

    def close(self) -> None:
        """Give back the connection, if any is open."""
        ...


def without_addresses(text: str) -> str:
    """One storable line without e-mail addresses: providers quote them in refusals; logs and events must not."""
    return _ADDRESS.sub("…", " ".join(storable(text).split()))[:_LONGEST_DETAIL]
