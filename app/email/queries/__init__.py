"""What the doors of the email service read."""

from app.email.queries.feedback import (
    count_unread_notices,
    find_suppression,
    get_suppression,
    happenings_of,
    has_notices,
    list_suppressions,
)
from app.email.queries.messages import (
    attempts_of,
    count_by_status,
    count_sent_by,
    count_sent_today,
    count_troubled,
    count_waiting,
    get_message,
    has_due,
    list_messages,
    oldest_waiting,
)
from app.email.queries.templates import (
    TemplateInUse,
    find_template,
    get_template,
    list_templates,
    source_of,
    template_by_id,
    template_exists,
    versions_of,
)
from app.email.queries.ways import ChosenWay, all_ways, usable_ways

__all__ = [
    "ChosenWay",
    "TemplateInUse",
    "all_ways",
    "attempts_of",
    "count_by_status",
    "count_sent_by",
    "count_sent_today",
    "count_troubled",
    "count_unread_notices",
    "count_waiting",
    "find_suppression",
    "find_template",
    "get_message",
    "get_suppression",
    "get_template",
    "happenings_of",
    "has_due",
    "has_notices",
    "list_messages",
    "list_suppressions",
    "list_templates",
    "oldest_waiting",
    "source_of",
    "template_by_id",
    "template_exists",
    "usable_ways",
    "versions_of",
]
