"""`flask ops doctor`: everything an installation leans on, asked once, with what to do about it.

Most calls for help end in a key that was typed wrong, a URL that leads elsewhere or a process that nobody started.
Each part says how to ask it (a Check); this package asks all of them at once and within a limit. A check reads: it
sends no message, writes no row, and repeats no secret and no personal data.
"""

from __future__ import annotations

from app.kit.doctor.examination import Report, examine
from app.kit.doctor.findings import (
    Check,
    Finding,
    account,
    as_json,
    as_text,
    clock_remark,
    fault,
    ok,
    refused,
    short_url,
    unreadable,
    warning,
)

__all__ = [
    "Check",
    "Finding",
    "Report",
    "account",
    "as_json",
    "as_text",
    "clock_remark",
    "examine",
    "fault",
    "ok",
    "refused",
    "short_url",
    "unreadable",
    "warning",
]
