"""What the fields of events mean, and what they look like: the words of docs/events.md.

A field means the same in every event that has it; where it does not, ``<event>.<field>`` says what it means there.
"""

from __future__ import annotations

from typing import Any

MEANINGS: dict[str, tuple[str, Any]] = {
    "capture_id": ("recognises a repeat", "0193a3c4-0000-7000-8000-00000000ca01"),
    "changes": ("field → new value, JSON-plain", {"company": "Viveros Sol"}),
    "channel": ("how the contact writes: whatsapp", "whatsapp"),
    "channel_id": ("the channel (number) it came through", "0193a3c4-0000-7000-8000-0000000000c4"),
    "company": ("as typed", "Viveros Luna"),
    "connection_id": ("the Airtable connection", "0193a3c4-0000-7000-8000-0000000000a1"),
    "contact_id": ("the person in the whatsapp service", "0193a3c4-0000-7000-8000-0000000000c0"),
    "contact_name": ("what the channel calls the contact", "Lucía"),
    "contact_phone": ("E.164, when the contact shows it", "+34600000012"),
    "conversation_id": ("the conversation", "0193a3c4-0000-7000-8000-0000000000c1"),
    "direction": ("out: we wrote; in: we took over", "out"),
    "email": ("as typed; null when unknown", "lucia@example.com"),
    "endpoint_id": ("the webhook endpoint", "0193a3c4-0000-7000-8000-0000000000e1"),
    "error": ("the provider's code and sentence; null unless it failed", None),
    "failing_since": ("ISO 8601, UTC; null when it did not fail", None),
    "field_name": ("the lead's field", "company"),
    "fields": ("answers by the lead's field names", {"name": "Lucía", "email": "lucia@example.com"}),
    "flow_id": ("the flow", "0193a3c4-0000-7000-8000-0000000000f1"),
    "flow_version": ("number of the published version", 3),
    "kind": ("text, choice, image, audio, video, document, location …", "text"),
    "language": ("es, en …", "es"),
    "lead_id": ("the lead", "0193a3c4-0000-7000-8000-000000000001"),
    "lead_ids": ("the leads", ["0193a3c4-0000-7000-8000-000000000001"]),
    "lead_name": ("as typed", "Lucía Vega"),
    "message_id": ("the message", "0193a3c4-0000-7000-8000-0000000000d1"),
    "new_stage": ("key of the stage it is in", "qualified"),
    "note": ("what the flow says to whoever goes on", "wants a quote"),
    "old_stage": ("key of the stage it was in", "new"),
    "outcome": ("as the flow's end node names it", "done"),
    "owner_id": ("the user who looks after the lead; null: nobody", 4),
    "owner_name": ("the user's name", "Marta Gil"),
    "permanent": ("whether the mailbox does not exist", True),
    "phone": ("E.164; null when unknown", "+34600000012"),
    "published_by": ("the user's name", "admin"),
    "reason": ("a word or sentence without personal data", "invalid"),
    "request_id": ("recognises a repeat", "0193a3c4-0000-7000-8000-0000000000b1"),
    "source": ("whatsapp, web, api, import, manual, demo, airtable", "whatsapp"),
    "stage": ("key of the stage", "new"),
    "status": ("queued, sent, delivered, read, failed", "delivered"),
    "template": ("key of the template", "welcome"),
    "to": ("the recipient's address", "lucia@example.com"),
    "variables": ("values for the template", {"name": "Lucía"}),
    "version_number": ("the lead's version after the change", 5),
    "winner": ("ours or airtable", "ours"),
    "endpoint.disabled.reason": ("by_hand, gone (it answered 410), failing (for days)", "gone"),
}
"""Field → (meaning, example)."""


def meaning_of(event: str, field: str) -> tuple[str, Any]:
    """(meaning, example) of an event's field; raises KeyError for one that nobody has described."""
    return MEANINGS.get(f"{event}.{field}") or MEANINGS[field]
