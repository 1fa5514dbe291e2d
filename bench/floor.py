"""The floor of an acknowledged webhook: bare Flask, an HMAC check, one committed INSERT, nothing else."""

from __future__ import annotations

import hashlib
import hmac
import os
import uuid

from flask import Flask, request
from sqlalchemy import Column, DateTime, LargeBinary, MetaData, String, Table, create_engine, func, insert

ENGINE = create_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"), pool_size=4, max_overflow=0
)
METADATA = MetaData()
RECEIVED = Table(
    "floor_webhook",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("digest", String(64), unique=True),
    Column("body", LargeBinary),
    Column("received_at", DateTime(timezone=True), server_default=func.now()),
)
KEY = os.environ["META_APP_SECRET"].encode()

app = Flask(__name__)


@app.post("/message")
def message() -> tuple[str, int]:
    """Verify, store, acknowledge."""
    body = request.get_data()
    expected = "sha256=" + hmac.new(KEY, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, request.headers.get("X-Hub-Signature-256", "")):
        return "", 403
    values = {"id": str(uuid.uuid4()), "digest": hashlib.sha256(body).hexdigest(), "body": body}
    with ENGINE.begin() as connection:
        connection.execute(insert(RECEIVED).values(**values))
    return "", 200


@app.get("/readyz")
def readyz() -> tuple[str, int]:
    """Alive."""
    return "ok", 200
