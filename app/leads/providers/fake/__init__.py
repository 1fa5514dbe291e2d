"""An Airtable of our own: the same addresses, shapes and limits, for who has no account yet, and for our tests.

It enforces what hurts in the real one: 5 calls a second per base and then 30 s of refusals, 10 records per write,
the upsert that matches two records, cells a column does not take, webhooks that expire and whose payloads are kept
for a week. Facts: airtable.com/developers/web/api, as cited in app/leads/providers/__init__.py. Where Airtable's
wording is not documented (two matches of an upsert, an eleventh webhook) the wording here is ours.
"""

from app.leads.providers.fake.answers import Answer, Ask, Refusal
from app.leads.providers.fake.server import serve
from app.leads.providers.fake.standin import StandIn
from app.leads.providers.fake.store import LEADS_BASE, Store

__all__ = ["LEADS_BASE", "Answer", "Ask", "Refusal", "StandIn", "Store", "serve"]
