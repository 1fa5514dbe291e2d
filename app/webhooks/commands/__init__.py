"""Everything that changes the webhooks service's data; doors open the transaction, commands never commit."""

from app.webhooks.commands.delivery import Parcel, claim_due, record, release
from app.webhooks.commands.endpoints import (
    change_endpoint,
    create_endpoint,
    delete_endpoint,
    disable_endpoint,
    enable_endpoint,
    rotate_secret,
)
from app.webhooks.commands.messages import (
    DELIVER_JOB,
    KEEP,
    erase_lead,
    purge,
    queue_event,
    replay,
    replay_failed,
    send_test,
)

__all__ = [
    "DELIVER_JOB",
    "KEEP",
    "Parcel",
    "change_endpoint",
    "claim_due",
    "create_endpoint",
    "delete_endpoint",
    "disable_endpoint",
    "enable_endpoint",
    "erase_lead",
    "purge",
    "queue_event",
    "record",
    "release",
    "replay",
    "replay_failed",
    "rotate_secret",
    "send_test",
]
