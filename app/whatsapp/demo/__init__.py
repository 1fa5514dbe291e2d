"""What a new installation begins with: channels for the credentials in the environment, and a phone in the browser.

The demo's flows are documents beside this file; they are published as anybody would publish them, so a demo that the
engine refuses cannot ship.
"""

from __future__ import annotations

from pathlib import Path

import orjson
from sqlalchemy import select

from app.kit.db import db, transaction
from app.whatsapp.commands import channels as channel_commands
from app.whatsapp.commands import flows as flow_commands
from app.whatsapp.models import Channel, Flow

AUTHOR = "Demo"
FOLDER = Path(__file__).parent
FLOWS = {"welcome_es.json": "Bienvenida", "welcome_en.json": "Welcome"}
"""File and the name its flow gets; the first is the simulator's default flow."""

SIMULATOR = "Simulador"


def seed() -> None:
    """Give each account in the environment its channel; also run when nothing is new."""
    with transaction():
        channel_commands.adopt_environment()


def load_demo() -> list[str]:
    """A published flow and a simulator that speaks it, where there are none; tells what was made."""
    made: list[str] = []
    with transaction():
        flows = {name: _flow(file, name, made) for file, name in FLOWS.items()}
        if db.session.scalar(select(Channel.id).where(Channel.provider == "simulator").limit(1)) is None:
            channel_commands.add_channel(
                name=SIMULATOR,
                provider="simulator",
                credentials={},
                default_flow_id=next(iter(flows.values())),
            )
            made.append(f"simulator channel “{SIMULATOR}”")
    return made


def _flow(file: str, name: str, made: list[str]) -> str:
    found = db.session.scalar(select(Flow.id).where(Flow.name == name).limit(1))
    if found is not None:
        return found
    row = flow_commands.create_flow(name, orjson.loads((FOLDER / file).read_bytes()), by=AUTHOR)
    flow_commands.publish_flow(row.id, by=AUTHOR)
    made.append(f"flow “{name}”")
    return row.id
