"""Everything that changes the email service's data; doors open the transaction, commands never commit."""

from app.email.commands.delivery import LostClaim, claim_due, note_handing_over, record, release
from app.email.commands.messages import (
    SEND_JOB,
    cancel_email,
    erase_lead,
    note_unsendable,
    queue_email,
    retry_email,
    send_sample,
)
from app.email.commands.orders import Order, read_order
from app.email.commands.templates import (
    archive_template,
    change_template,
    create_template,
    restore_template,
    restore_version,
)

__all__ = [
    "SEND_JOB",
    "LostClaim",
    "Order",
    "archive_template",
    "cancel_email",
    "change_template",
    "claim_due",
    "create_template",
    "erase_lead",
    "note_handing_over",
    "note_unsendable",
    "queue_email",
    "read_order",
    "record",
    "release",
    "restore_template",
    "restore_version",
    "retry_email",
    "send_sample",
]
