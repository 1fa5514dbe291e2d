"""Leads and Airtable, kept in step: one job writes what changed here, one reads what changed there."""

from app.kit.jobs import Job
from app.leads.jobs.pull import pull_all
from app.leads.jobs.push import push_all
from app.leads.queries.airtable import pull_is_due, push_is_due

PUSH_JOB = "leads.push_airtable"
PULL_JOB = "leads.pull_airtable"

JOBS = (
    Job(name=PUSH_JOB, queue="airtable", run=push_all, due=push_is_due, patient=True),
    Job(name=PULL_JOB, queue="airtable", run=pull_all, due=pull_is_due, patient=True),
)
