"""What belongs to the work at hand rather than to any function: today only the request id.

It travels from the webhook through rows and events to provider calls and callbacks, and joins their log lines. A job
drains rows of many requests; so each row that leads to a call keeps the id it was made under, and is worked on under it.
"""

from __future__ import annotations

from contextvars import ContextVar

REQUEST_ID: ContextVar[str | None] = ContextVar("embudo_request_id", default=None)
"""Id of the request, job or event being worked on."""


def request_id() -> str | None:
    """The running work's request id, if it has one."""
    return REQUEST_ID.get()
