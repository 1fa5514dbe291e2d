"""How messages leave: one protocol, one adapter per way out.

A provider may fail at any moment, also after it took the message. So the adapter says per message what is known,
and calls `handing_over` just before the point of no return, where the caller writes down that from now on only the
provider knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from app.email.mime import Letter
from app.kit.errors import ProviderError


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one letter: accepted (error is None), or the error that says why not.

    ref: the letter's ref; provider_message_id: what the provider calls it, when it tells.
    """

    ref: str
    error: ProviderError | None = None
    provider_message_id: str | None = None


class MailSender(Protocol):
    """A way out for letters."""

    name: str

    def send(self, batch: Iterable[Letter], handing_over: Callable[[str], None]) -> Iterator[Result]:
        """Send the letters one after the other over one connection and yield a result for each, at once.

        `handing_over(ref)` is called right before a letter may become delivered; an error before that call means
        that nothing was sent. A letter for which no result was yielded (the caller stopped, or the adapter raised)
        was not touched, unless handing_over was called for it.
        Raises Temporary or Misconfigured when the provider cannot be reached at all.
        """
        ...

    def close(self) -> None:
        """Give back the connection, if any is open."""
        ...
