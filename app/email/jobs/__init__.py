"""What workers do for the email service: send what is due, and understand what providers told."""

from app.email import queries
from app.email.commands import NOTICE_JOB, SEND_JOB
from app.email.jobs.feedback import take_in
from app.email.jobs.sending import has_due, send_due, sender_address, try_way
from app.kit.jobs import Job

__all__ = ["JOBS", "has_due", "sender_address", "try_way"]

JOBS = (
    Job(name=SEND_JOB, queue="email", run=send_due, due=has_due, patient=True),
    Job(name=NOTICE_JOB, queue="email", run=take_in, due=queries.has_notices),
)
