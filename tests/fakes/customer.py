"""A customer's endpoint: takes the webhooks that are signed for it, and refuses the others."""

from __future__ import annotations

from collections import Counter

from standardwebhooks import Webhook, WebhookVerificationError

from tests.fakes.loopback import Answer, LoopbackServer, Received


class Customer(LoopbackServer):
    """Verifies with the specification's own library.

    secret: what the product said when the endpoint was made. taken: the webhooks that were verified.
    """

    def __init__(self) -> None:
        super().__init__()
        self.secret = ""
        self.taken: list[Received] = []

    def handle(self, request: Received) -> Answer:
        """204, or 401 to who cannot sign."""
        try:
            Webhook(self.secret).verify(request.body, dict(request.headers))
        except WebhookVerificationError:
            return Answer(status=401, body=b"")
        self.taken.append(request)
        return Answer(status=204, body=b"")

    def leads(self) -> Counter[str]:
        """How often it has been told of each new lead, by id."""
        return Counter(
            request.json["data"]["lead_id"]
            for request in list(self.taken)
            if request.json["type"] == "lead.created"
        )
