"""Everything that changes the email service's data; doors open the transaction, commands never commit."""

from app.email.commands.claiming import claim_due
from app.email.commands.delivery import (
    give_back,
    note_handing_over,
    record,
    release,
    take_back,
    wait_for_way,
)
from app.email.commands.feedback import (
    NOTICE_JOB,
    TooEarly,
    claim_notices,
    note_notice_failure,
    store_notice,
    take_in,
)
from app.email.commands.messages import (
    SEND_JOB,
    cancel_email,
    erase_email,
    note_unsendable,
    queue_email,
    retry_email,
    send_sample,
    stop_lead,
)
from app.email.commands.orders import Order, read_order
from app.email.commands.providers import change_provider, note_fault, order_providers
from app.email.commands.suppressions import add_suppression, remove_suppression, suppress
from app.email.commands.templates import (
    archive_template,
    change_template,
    create_template,
    restore_template,
    restore_version,
)
from app.email.commands.unsubscribing import message_of, subscribe_again, token_of, unsubscribe

__all__ = [
    "NOTICE_JOB",
    "SEND_JOB",
    "Order",
    "TooEarly",
    "add_suppression",
    "archive_template",
    "cancel_email",
    "change_provider",
    "change_template",
    "claim_due",
    "claim_notices",
    "create_template",
    "erase_email",
    "give_back",
    "message_of",
    "note_fault",
    "note_handing_over",
    "note_notice_failure",
    "note_unsendable",
    "order_providers",
    "queue_email",
    "read_order",
    "record",
    "release",
    "remove_suppression",
    "restore_template",
    "restore_version",
    "retry_email",
    "send_sample",
    "stop_lead",
    "store_notice",
    "subscribe_again",
    "suppress",
    "take_back",
    "take_in",
    "token_of",
    "unsubscribe",
    "wait_for_way",
]
