"""What every test stands on: a migrated database, a real Redis, an app, and a way to let all work finish.

Tests run on SQLite and an embedded Redis by default. ``--database=postgresql`` (or EMBUDO_TEST_DATABASE with the URL
of a server where databases may be created) runs the same tests on PostgreSQL.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app, services
from app.kit import auth, db, jobs, relay
from app.kit.cli import doctor_, setup
from app.kit.redis_client import redis
from app.kit.redis_server import ensure
from config import Config

services.load_models(services.SERVICES.values())

# The same examples at every run, and no judgement about how fast a shared machine makes them.
hypothesis.settings.register_profile(
    "embudo", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("embudo")

pytest_plugins = ["tests.left_out"]

BINDS = ("platform", "whatsapp", "leads", "email", "webhooks")
ADMIN_PASSWORD = "correct horse battery"
LOCAL_POSTGRESQL = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Choose the database."""
    parser.addoption("--database", choices=("sqlite", "postgresql"), default=None)


def postgresql_url(config: pytest.Config) -> str | None:
    """URL of the PostgreSQL server to test on, or None for SQLite."""
    chosen = config.getoption("--database")
    url = os.environ.get("EMBUDO_TEST_DATABASE")
    if chosen == "sqlite":
        return None
    if chosen == "postgresql":
        return url or LOCAL_POSTGRESQL
    return url


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real inputs and contracts; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("EMBUDO_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip("the folder with real inputs is absent (EMBUDO_SHARED)")
    return folder


class Databases:
    """Makes the databases once, with all migrations run, and puts them back before each test."""

    def __init__(self, folder: Path, server: str | None) -> None:
        self.folder = folder
        self.server = server
        self.name = f"embudo_test_{os.getpid()}"

    def urls(self) -> dict[str, str]:
        """URL per bind."""
        if self.server is None:
            return {bind: f"sqlite:///{self.folder}/{bind}.sqlite" for bind in BINDS}
        return dict.fromkeys(BINDS, self.server.rpartition("/")[0] + f"/{self.name}")

    def create(self) -> None:
        """An empty place for the tables."""
        self._drop()
        self._admin(f"CREATE DATABASE {self.name}")

    def keep(self) -> None:
        """Take the present state as the one that each test begins with."""
        if self.server is None:
            (self.folder / "template").mkdir(exist_ok=True)
            for bind in BINDS:
                shutil.copy(self.folder / f"{bind}.sqlite", self.folder / "template")
        else:
            self._admin(f"ALTER DATABASE {self.name} RENAME TO {self.name}_template")

    def reset(self) -> None:
        """Back to what keep() saw."""
        if self.server is None:
            for bind in BINDS:
                for suffix in ("-wal", "-shm"):
                    (self.folder / f"{bind}.sqlite{suffix}").unlink(missing_ok=True)
                shutil.copy(self.folder / "template" / f"{bind}.sqlite", self.folder)
        else:
            self._admin(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")
            self._admin(f"CREATE DATABASE {self.name} TEMPLATE {self.name}_template")

    def _drop(self) -> None:
        for name in (self.name, f"{self.name}_template"):
            self._admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def remove(self) -> None:
        """Leave nothing behind."""
        self._drop()

    def _admin(self, statement: str) -> None:
        if self.server is not None:
            with psycopg.connect(self.server.replace("+psycopg", ""), autocommit=True) as connection:
                connection.execute(statement)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of our own on a unix socket."""
    server = ensure(tmp_path_factory.mktemp("redis"), environ={"PATH": os.environ.get("PATH", "")})
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory, redis_url: str, databases: Databases) -> Config:
    """The configuration that the tests' app runs with."""
    folder = tmp_path_factory.mktemp("instance")
    made = Config.from_env(
        {
            "SECRET_KEY": "a secret of the tests and long enough to be one",
            "ADMIN_PASSWORD": ADMIN_PASSWORD,
            "REDIS_URL": redis_url,
            "EMBUDO_INSTANCE": str(folder),
            "LOG_LEVEL": "INFO",
            "PUBLIC_URL": "http://localhost",
            "TIMEZONE": "UTC",
            "PORT": "9",  # where nobody listens: the demo's stand-in for Airtable is not to be found on a real port
        }
    )
    return replace(made, databases=databases.urls())


@pytest.fixture(scope="session")
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Databases]:
    """The databases of this run."""
    made = Databases(tmp_path_factory.mktemp("databases"), postgresql_url(request.config))
    made.create()
    yield made
    made.remove()


class FreshClient(FlaskClient):
    """A test client whose requests have an app context of their own, as in production.

    Flask reuses the context that the test stands in, and with it `g`: the second request would be the first's user.
    """

    def open(self, *args: Any, **options: Any) -> Any:
        """Send a request."""
        with db.own_context():
            return super().open(*args, **options)


@pytest.fixture(scope="session")
def session_app(config: Config, databases: Databases) -> Iterator[Flask]:
    """The app, set up once; tests use `app`, which begins with clean databases."""
    app = create_app(config, role="web")
    app.testing = True
    app.test_client_class = FreshClient
    result = app.test_cli_runner().invoke(setup)
    assert result.exit_code == 0, result.output
    db.dispose_engines(app)
    databases.keep()
    yield app
    db.dispose_engines(app)


@pytest.fixture
def app(session_app: Flask, databases: Databases) -> Iterator[Flask]:
    """The app with freshly set-up databases and an empty Redis, inside an app context."""
    db.dispose_engines(session_app)
    databases.reset()
    auth._seen.clear()
    for forget in session_app.extensions.get("embudo_process_caches", []):
        forget()
    with session_app.app_context():
        redis().flushdb()
        yield session_app
        db.db.session.remove()
    db.dispose_engines(session_app)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client that nobody knows."""
    return app.test_client()


class ApiClient:
    """A client with an API key; every method is the Flask test client's, with the key's header."""

    def __init__(self, app: Flask, key: str) -> None:
        self.key = key
        self.client = app.test_client()

    def open(self, path: str, **options: Any) -> Any:
        """Send a request; headers may be given."""
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        return self.client.open(path, headers=headers, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in {"get", "post", "put", "patch", "delete"}:
            raise AttributeError(name)
        return lambda path, **options: self.open(path, method=name.upper(), **options)


@pytest.fixture
def api(app: Flask) -> Callable[..., ApiClient]:
    """Make a client with an API key: ``api("leads:read")``, ``api(user_id=seller.id)`` (all scopes by default)."""

    def make(*scopes: str, user_id: int | None = None) -> ApiClient:
        with db.own_context(), db.transaction():
            _, plain = auth.create_key("test", scopes or auth.SCOPES, user_id=user_id)
        return ApiClient(app, plain)

    return make


@pytest.fixture
def make_user(app: Flask) -> Callable[..., Any]:
    """Add a user with a role: ``make_user("seller")`` gives the FAB user; the password is ADMIN_PASSWORD."""

    def make(role: str, name: str | None = None) -> Any:
        name = name or role
        manager = app.appbuilder.sm  # type: ignore[attr-defined]
        return manager.add_user(
            name, name.title(), "Test", f"{name}@example.com", manager.find_role(role), ADMIN_PASSWORD
        )

    return make


def log_in(client: FlaskClient, username: str, password: str = ADMIN_PASSWORD) -> FlaskClient:
    """Log a client in through the real form."""
    page = client.get("/login/")
    token = page.text.partition('name="csrf_token"')[2].partition('value="')[2].partition('"')[0]
    answer = client.post("/login/", data={"username": username, "password": password, "csrf_token": token})
    assert answer.status_code == 302, answer.text[:500]
    return client


@pytest.fixture
def admin(app: Flask) -> FlaskClient:
    """The administrator's browser, logged in."""
    return log_in(app.test_client(), "admin")


@pytest.fixture
def logged_in(app: Flask, make_user: Callable[..., Any]) -> Callable[[str], FlaskClient]:
    """A browser of a user with a role: ``logged_in("seller")``."""

    def make(role: str) -> FlaskClient:
        user = make_user(role)
        return log_in(app.test_client(), user.username)

    return make


Doctor = Callable[..., tuple[int, list[dict[str, str]]]]
"""Runs `flask ops doctor` with options; its exit code and findings."""


@pytest.fixture
def doctor(app: Flask) -> Doctor:
    """What `flask ops doctor --json` says, in English."""

    def run(*options: str) -> tuple[int, list[dict[str, str]]]:
        with db.own_context():
            result = app.test_cli_runner().invoke(doctor_, ["--json", "--language", "en", *options])
        assert result.exit_code in (0, 1), result.output
        return result.exit_code, json.loads(result.stdout)["findings"]

    return run


@pytest.fixture
def drain(app: Flask) -> Callable[[], None]:
    """Let relay and workers do all that is due, until nothing is; what they do in production, without waiting."""

    def run() -> None:
        for _ in range(200):
            with db.own_context():
                moved = relay.pass_once()
            for name in sorted({job.queue for job in jobs.known().values()}):
                queue = jobs.queue_of(name)
                for job in queue.get_jobs():
                    queue.remove(job)
                    jobs.run(*job.args)
                    moved += 1
            if not moved:
                db.db.session.expire_all()
                return
        raise AssertionError("work never ends: " + ", ".join(jobs.known()))

    return run
