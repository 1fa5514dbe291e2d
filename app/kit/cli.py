"""``flask ops …``: what an engineer does with the product from a shell, one command each, safe to repeat."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import click
from flask import current_app
from flask.cli import AppGroup, ScriptInfo, with_appcontext
from flask_babel import force_locale

from app.kit import auth, db, gateway, installation, migrate
from app.kit.errors import EmbudoError

ops = AppGroup("ops", help="Set up, run and look after Embudo.", context_settings={"show_default": True})


@contextmanager
def only_one() -> Iterator[None]:
    """One set-up at a time on this machine; PostgreSQL has an advisory lock besides."""
    lock = Path(current_app.instance_path)
    lock.mkdir(parents=True, exist_ok=True)
    with (lock / "setup.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@ops.command("setup")
@with_appcontext
def setup() -> None:
    """Bring the databases, roles, permissions and the first administrator to this release. Idempotent."""
    with only_one():
        for bind in migrate.upgrade_all():
            click.echo(f"database {bind}: brought to {migrate.head(bind)}")
        current_app.extensions["embudo_setup"]()
        made = current_app.extensions["embudo_setup_security"](current_app)
    if made is not None:
        username, password = made
        click.echo(f"administrator: {username} / {password}")


@ops.command("demo")
@with_appcontext
def demo() -> None:
    """Fill in a demo: a simulator channel, flows, templates, leads. What is there already stays."""
    for sentence in current_app.extensions["embudo_demo"]():
        click.echo(sentence)


@ops.command("up")
@click.pass_context
def up(ctx: click.Context) -> None:
    """Run everything here: Redis if none is given, set-up, web, worker and relay. Ctrl-C stops all of it."""
    app = ctx.ensure_object(ScriptInfo).load_app()
    config = app.extensions["embudo_config"]

    def command(name: str) -> Callable[[], None]:
        def run() -> None:
            with app.app_context():
                ops.main([name], prog_name="flask ops", obj=ctx.obj)

        return run

    sys.exit(
        installation.up(
            installation.Installation(
                instance_dir=config.instance_dir,
                host=config.host,
                port=config.port,
                url=config.public_url or f"http://localhost:{config.port}",
                simulator=config.simulator,
                setup=command("setup"),
                demo=command("demo"),
            )
        )
    )


@ops.command("api-key")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, required=True, help="e.g. leads:read; may be given several times"
)
@click.option("--days", type=click.IntRange(min=1), help="days until it expires")
@click.option("--user-id", type=int, help="act as this user, with at most their rights")
@with_appcontext
def api_key(name: str, scopes: tuple[str, ...], days: int | None, user_id: int | None) -> None:
    """Make an API key NAME and print it, once."""
    expires = db.utcnow() + timedelta(days=days) if days else None
    wanted = auth.SCOPES if "all" in scopes else scopes
    try:
        with db.transaction():
            _, plain = auth.create_key(
                name, wanted, expires_at=expires, user_id=user_id, by="flask ops api-key"
            )
    except EmbudoError as error:
        raise click.ClickException(str(error)) from None
    click.echo(plain)


@ops.command("reset-password")
@click.argument("username", default="admin")
@with_appcontext
def reset_password(username: str) -> None:
    """Give USERNAME a new generated password and print it."""
    password = current_app.extensions["embudo_reset_password"](username)
    if password is None:
        raise click.ClickException(f"There is no user “{username}”.")
    click.echo(f"{username} / {password}")


@ops.command("doctor")
@click.option("--json", "machine", is_flag=True, help="for machines")
@click.option("--offline", is_flag=True, help="call no provider and not our own public address")
@click.option("--language", type=click.Choice(["es", "en"]), help="of the findings; else LANG's")
@with_appcontext
def doctor_(machine: bool, offline: bool, language: str | None) -> None:
    """Ask everything this installation leans on, and say what to do. Sends and writes nothing; exit 1 on a problem."""
    from app.kit import doctor
    from app.kit.doctor import storage

    app = current_app._get_current_object()  # type: ignore[attr-defined]
    language = language or _language()
    with storage.making_no_files():
        reports = doctor.examine(app, app.extensions["embudo_doctor"](), language=language, offline=offline)
    with force_locale(language):
        click.echo(doctor.as_json(reports).decode() if machine else doctor.as_text(reports))
    sys.stdout.flush()
    sys.exit(1 if any(item.level == "problem" for report in reports for item in report.findings) else 0)


def _language() -> str:
    """The shell's language, when it is one of ours; else the installation's."""
    said = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), "")
    return said[:2] if said[:2] in ("es", "en") else str(current_app.config["DEFAULT_LANGUAGE"])


@ops.command("events-doc")
@click.option("--write", is_flag=True, help="renew docs/events.md instead of printing")
@with_appcontext
def events_doc_(write: bool) -> None:
    """Print docs/events.md as the events and their listeners are now; serve all services for it."""
    from app.kit import events_doc

    handlers = current_app.extensions["embudo_handlers"]
    if absent := {routes.service for routes in current_app.extensions["embudo_routes"]} - handlers.keys():
        raise click.ClickException(f"Take SERVICES away: {', '.join(sorted(absent))} would be missing.")
    text = events_doc.document(handlers)
    if write:
        (migrate.HISTORY.parent / "docs" / "events.md").write_text(text, "utf-8")
        return
    click.echo(text, nl=False)


@ops.command("gateway")
@click.option("--write", is_flag=True, help="renew the routing in deploy/ instead of printing")
@with_appcontext
def gateway_(write: bool) -> None:
    """Print the gateway's nginx.conf for the upstreams in the environment (deploy/gateway/gateway.env)."""
    routes = current_app.extensions["embudo_routes"]
    if write:
        gateway.write(routes)
        return
    try:
        click.echo(gateway.nginx(routes, os.environ), nl=False)
    except gateway.GatewayProblem as error:
        raise click.ClickException(str(error)) from None


@ops.command("migration")
@click.option("--service", "bind", required=True, help="platform, whatsapp, leads, email …")
@click.option("--message", "-m", required=True, help="what the migration does, in a few words")
@with_appcontext
def migration(bind: str, message: str) -> None:
    """Write the next migration of a service from what its models say."""
    if bind not in migrate.binds():
        raise click.ClickException(f"There is no database “{bind}”; known are {', '.join(migrate.binds())}.")
    migrate.new_revision(bind, message)


@ops.command("check-migrations")
@with_appcontext
def check_migrations() -> None:
    """Fail when the models say something that no migration makes."""
    wrong = {bind: found for bind in migrate.binds() if (found := migrate.differences(bind))}
    for bind, found in wrong.items():
        click.echo(f"{bind}: run “make migration service={bind} m=…”: {found}", err=True)
    sys.exit(1 if wrong else 0)
