"""Where this installation keeps its stand-in for Airtable, for who has no account yet."""

from __future__ import annotations

from pathlib import Path

from flask import current_app

from app.leads.providers.fake import StandIn, Store
from app.leads.providers.fake.server import Pinger
from app.leads.queries import airtable as queries

FILE = "airtable-stand-in.sqlite"


def local_stand_in() -> StandIn:
    """This process's stand-in; its tables are in a file that all processes of the machine share."""
    extensions = current_app.extensions
    if "leads_stand_in" not in extensions:
        folder = Path(current_app.instance_path)
        folder.mkdir(parents=True, exist_ok=True)
        store = Store(str(folder / FILE))
        store.seed_demo()
        extensions["leads_stand_in"] = StandIn(store, token=queries.stand_in_token(), ping=Pinger())
    made: StandIn = extensions["leads_stand_in"]
    return made
