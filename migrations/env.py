"""Alembic's entry; kit/migrate.py gives the connection, the bind and its tables."""

from alembic import context

from app.kit import migrate

config = context.config
bind = config.attributes["bind"]
connection = config.attributes["connection"]

if connection.dialect.name == "postgresql":
    # A migration that waits for a lock makes everybody behind it wait too: give up instead and try again later.
    connection.exec_driver_sql("SET lock_timeout = '10s'")

context.configure(
    connection=connection,
    target_metadata=config.attributes["metadata"],
    version_table=migrate.version_table(bind),
    include_name=migrate.own_only(bind),
    render_as_batch=connection.dialect.name == "sqlite",
    render_item=migrate.render_type,
)
with context.begin_transaction():
    context.run_migrations()
