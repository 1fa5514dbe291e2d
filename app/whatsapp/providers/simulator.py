"""The channel without a provider: the chat page in the browser reads the reply from the database.

It lets a new installation talk to its flows before any account exists; engine and send job are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.kit.http import Standing
from app.whatsapp.providers import wording
from app.whatsapp.providers.base import (
    Accepted,
    Choice,
    CredentialField,
    Credentials,
    Hook,
    InboundMessage,
    Limits,
    Outgoing,
    Raw,
    StatusUpdate,
)


class SimulatorSender:
    """Sender that accepts everything at once and has no webhook: messages come through the simulator's
    page."""

    FIELDS: tuple[CredentialField, ...] = ()
    limits = Limits(text=4096, text_with_choices=4096, buttons=10, choices=10, label=120)
    hook: Hook | None = None

    def address(self, credentials: Credentials) -> str | None:
        """None: nothing from outside is ever for a simulator."""
        return None

    def account_of(self, raw: Raw) -> str | None:
        """None, see address."""
        return None

    def verify(self, raw: Raw, credentials: Credentials) -> bool:
        """False: nobody may speak for the simulator by HTTP."""
        return False

    def unreadable(self, raw: Raw) -> str | None:
        """Never asked: nothing is signed for a simulator."""
        return None

    def parse(self, raw: Raw) -> list[InboundMessage | StatusUpdate]:
        """Nothing."""
        return []

    def split(self, text: str, choices: Sequence[Choice] = ()) -> list[str]:
        """Parts of at most 4096, as on Meta."""
        return wording.split(text, self.limits.text)

    def send(self, outgoing: Outgoing, credentials: Credentials) -> Accepted:
        """Accepted at once; our message id serves as the provider's."""
        return Accepted(provider_id=outgoing.reference, status="sent")

    def check(self, credentials: Credentials) -> Standing:
        """Always good."""
        return Standing()
