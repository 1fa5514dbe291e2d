"""A migration keeps what is there."""

from __future__ import annotations

from alembic import command
from flask import Flask
from sqlalchemy import func, insert, select

from app.kit import migrate
from app.kit.db import db, engine_of, transaction
from app.whatsapp.models import Channel, Contact


def test_a_table_that_is_made_anew_keeps_its_rows_and_those_that_refer_to_them(app: Flask) -> None:
    with migrate._connected("whatsapp") as connection:
        command.downgrade(migrate.config_of("whatsapp", connection), "whatsapp_0001")
    with transaction() as session:
        channel = Channel(name="Ventas", provider="meta", address="555")
        session.add(channel)
        session.flush()
        # By a statement, which names no column that came later.
        session.execute(insert(Contact).values(channel_id=channel.id, user_id="34600111222"))

    assert migrate.upgrade_all() == ["whatsapp"]

    assert db.session.scalar(select(func.count()).select_from(Contact).join(Channel)) == 1
    with engine_of("whatsapp").connect() as connection:
        if connection.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
