"""The floor of a cached look-up: bare Flask, one GET of Redis, nothing else."""

from __future__ import annotations

import os

from flask import Flask, Response
from redis import Redis

REDIS = Redis.from_url(os.environ["REDIS_URL"])
KEY = os.environ["FLOOR_KEY"]

app = Flask(__name__)


@app.get("/leads/<lead_id>")
def lead(lead_id: str) -> Response:  # noqa: ARG001 (the route has it)
    """What Redis holds, as it is."""
    return Response(REDIS.get(KEY), mimetype="application/json")


@app.get("/readyz")
def readyz() -> tuple[str, int]:
    """Alive."""
    return "ok", 200
