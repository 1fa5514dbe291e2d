"""The service over HTTP: starting and following runs, conversations, flows, try-outs and the simulator."""

from app.whatsapp.api import conversations, flows, runs, simulations, simulator
from app.whatsapp.api.blueprint import bp

__all__ = ["bp", "conversations", "flows", "runs", "simulations", "simulator"]
