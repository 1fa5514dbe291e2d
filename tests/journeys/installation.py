"""A whole Embudo for the journeys: Redis, databases, and the processes of each service, in one of two topologies.

`monolith` is one process group that serves all on one set of databases. `services` is a group per service, each with
its own web, worker, relay and database; they share Redis and the platform's database, as the design says.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from redis import Redis

from app.kit.redis_server import RedisServer, ensure
from tests.fakes import meta_server, twilio_server
from tests.fakes.meta_server import MetaServer
from tests.fakes.ports import free_port
from tests.fakes.smtp_server import SmtpScript
from tests.fakes.twilio_server import TwilioServer
from tests.journeys.nursery import Nursery
from tests.journeys.processes import (
    ROOT,
    Launch,
    Program,
    await_url,
    commands,
    empty_database,
    flask,
)
from tests.ops.waiting import wait_for

SECRET_KEY = "a secret of the journeys and long enough to be one"
TOPOLOGIES = ("monolith", "services")
SERVICES = ("whatsapp", "leads", "email", "webhooks")
PARTS = ("web", "worker", "relay")

CLAIM_SECONDS, ANSWER_SECONDS = 2, 4
"""How long the journeys wait for what died; a minute or two in production."""

UNSETTLED = {
    "whatsapp": (
        "SELECT count(*) FROM whatsapp_webhook WHERE processed_at IS NULL AND dead_at IS NULL",
        "SELECT count(*) FROM whatsapp_message WHERE direction = 'in' AND handled_at IS NULL",
        "SELECT count(*) FROM whatsapp_message WHERE direction = 'out' AND status IN ('queued', 'sending')",
        "SELECT count(*) FROM whatsapp_outbox WHERE delivered_at IS NULL",
    ),
    "leads": ("SELECT count(*) FROM leads_outbox WHERE delivered_at IS NULL",),
    "email": (
        "SELECT count(*) FROM email_message WHERE status IN ('queued', 'deferred', 'sending')",
        "SELECT count(*) FROM email_outbox WHERE delivered_at IS NULL",
    ),
    "webhooks": (),
}
"""What each service still has to do; all zero means that nothing more will happen by itself."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What the product said to a request."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Group:
    """The processes that serve some services together."""

    name: str
    env: dict[str, str]
    port: int
    folder: Path
    launch: Launch
    programs: dict[str, Program] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.programs = {
            part: Program(
                command, env=self.env, log=self.folder / f"{self.name}.{part}.log", launch=self.launch
            )
            for part, command in commands(self.port).items()
        }

    @property
    def url(self) -> str:
        """Where its web answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def web(self) -> Program:
        """gunicorn."""
        return self.programs["web"]

    @property
    def worker(self) -> Program:
        """worker.py."""
        return self.programs["worker"]

    @property
    def relay(self) -> Program:
        """worker.py relay."""
        return self.programs["relay"]

    def start(self, *parts: str) -> None:
        """Start these parts (all by default) that do not run, and wait until the web answers."""
        for part in parts or PARTS:
            self.programs[part].start()
        if "web" in (parts or PARTS):
            await_url(f"{self.url}/readyz", self.web.log)


@dataclass
class Installation:
    """A running Embudo and its surroundings."""

    topology: str
    folder: Path
    groups: dict[str, Group]
    databases: dict[str, str]
    redis: RedisServer
    meta: MetaServer
    twilio: TwilioServer
    mail: SmtpScript
    key: str = ""
    door: str = ""  # the gateway's address, where there is one

    def of(self, service: str) -> Group:
        """The group that serves a service."""
        return self.groups.get(service) or self.groups["monolith"]

    def start(self) -> None:
        """Start everything that does not run."""
        for group in self.groups.values():
            for program in group.programs.values():
                program.start()
        for group in self.groups.values():
            await_url(f"{group.url}/readyz", group.web.log)

    def stop(self) -> None:
        """End everything."""
        for group in self.groups.values():
            for program in group.programs.values():
                program.stop()
        self.redis.stop()

    def without(self, service: str) -> None:
        """From now on nobody does this service's work."""
        worker = self.of(service).worker
        worker.kill()
        if self.topology == "monolith":
            worker.start(*(name for name in SERVICES if name != service))

    def kill(self, *parts: str) -> None:
        """kill -9 of these parts of every group."""
        for group in self.groups.values():
            for part in parts:
                group.programs[part].kill()

    def kill_redis(self) -> None:
        """kill -9."""
        assert self.redis.process is not None
        self.redis.process.kill()
        self.redis.process.wait()

    def start_redis(self) -> None:
        """Start it again on its own data."""
        self.redis = ensure(self.folder / "redis", environ={"PATH": os.environ["PATH"]})

    def redis_client(self) -> Redis:
        """A client of the present Redis."""
        return Redis.from_url(self.redis.url)

    def request(
        self,
        service: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> Answered:
        """Ask a service's web; errors are answers too."""
        request = urllib.request.Request(  # noqa: S310
            (self.door or self.of(service).url) + path, data=body, headers=dict(headers or {}), method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                return Answered(status=answer.status, body=answer.read())
        except urllib.error.HTTPError as error:
            return Answered(status=error.code, body=error.read())

    def api(self, service: str, path: str, payload: Any = None, *, method: str | None = None) -> Any:
        """Call the REST interface with the key; the decoded answer, which must be a success."""
        body = None if payload is None else json.dumps(payload).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        answer = self.request(service, path, body=body, headers=headers, method=method)
        assert 200 <= answer.status < 300, (path, answer.status, answer.body[:500])
        return answer.json if answer.body else None

    def number(self, service: str, statement: str) -> int:
        """The number that a query of a service's database gives."""
        engine = sa.create_engine(self.databases[service], poolclass=sa.NullPool)
        with engine.connect() as connection:
            return int(connection.execute(sa.text(statement)).scalar_one())

    def change(self, service: str, statement: str) -> None:
        """Make a change in a service's database, such as that time has passed."""
        engine = sa.create_engine(self.databases[service], poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.execute(sa.text(statement))

    def column(self, service: str, statement: str) -> set[str]:
        """The texts that a query of a service's database gives."""
        engine = sa.create_engine(self.databases[service], poolclass=sa.NullPool)
        with engine.connect() as connection:
            return set(connection.execute(sa.text(statement)).scalars())

    def unsettled(self) -> list[str]:
        """What is still under way, one line each."""
        found = [
            f"{left} of: {text}"
            for name, texts in UNSETTLED.items()
            for text in texts
            if (left := self.number(name, text))
        ]
        client = self.redis_client()
        found += [f"jobs in the queue {name}" for name in SERVICES if client.llen(f"rq:queue:{name}")]
        client.close()
        return found

    def settle(self) -> None:
        """Wait until nothing is under way any more, so that what did not happen by now does not happen."""
        left: list[str] = []

        def rest() -> bool:
            left[:] = self.unsettled()
            return not left

        try:
            wait_for(rest, "all work is done")
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *left])) from None

    def logs(self) -> dict[str, str]:
        """All that any process has said, by file."""
        return {
            path.name: path.read_text(errors="replace")
            for path in sorted([*self.folder.glob("*.log"), *self.folder.glob("redis/*.log")])
        }


@contextmanager
def installation(
    topology: str,
    folder: Path,
    *,
    postgresql: str | None,
    meta: MetaServer,
    twilio: TwilioServer,
    mail: SmtpScript,
    **extra: str,
) -> Iterator[Installation]:
    """A set-up and started installation. postgresql: URL of a server, None for SQLite files. extra: variables."""
    with ExitStack() as stack:
        redis = ensure(folder / "redis", environ={"PATH": os.environ["PATH"]})
        nursery = Nursery(ROOT)
        stack.callback(nursery.close)
        urls = {
            bind: stack.enter_context(_database(topology, bind, folder, postgresql))
            for bind in ("platform", *SERVICES)
        }
        if topology == "monolith" and postgresql is not None:
            urls = dict.fromkeys(urls, urls["platform"])
        common = _environment(folder, redis.url, meta, twilio, mail) | extra
        parts = {"monolith": SERVICES} if topology == "monolith" else {name: (name,) for name in SERVICES}
        ports = {name: free_port() for name in parts}
        if topology != "monolith":
            common |= {f"{name.upper()}_URL": f"http://127.0.0.1:{port}" for name, port in ports.items()}
        groups = {
            name: _group(name, served, folder, common, urls, nursery.launch, ports[name])
            for name, served in parts.items()
        }
        made = Installation(topology, folder, groups, urls, redis, meta, twilio, mail)
        stack.callback(made.stop)
        for group in groups.values():
            flask(group.env, "setup", launch=nursery.launch)
        flask(made.of("email").env, "demo", launch=nursery.launch)  # the welcome's template
        said = flask(made.of("leads").env, "api-key", "journeys", "--scope", "all", launch=nursery.launch)
        made.key = said.split()[-1]
        made.start()
        yield made


@contextmanager
def _database(topology: str, bind: str, folder: Path, postgresql: str | None) -> Iterator[str]:
    if postgresql is None:
        yield f"sqlite:///{folder}/{bind}.sqlite"
    elif topology == "monolith" and bind != "platform":
        yield ""  # one for all
    else:
        with empty_database(postgresql.replace("+psycopg", ""), f"embudo_journey_{bind}") as url:
            yield url.replace("postgresql://", "postgresql+psycopg://")


def _group(
    name: str,
    served: tuple[str, ...],
    folder: Path,
    common: Mapping[str, str],
    urls: Mapping[str, str],
    launch: Launch,
    port: int,
) -> Group:
    own = {f"{bind.upper()}_DATABASE_URL": urls[bind] for bind in ("platform", *served)}
    env = {
        **common,
        **({"DATABASE_URL": urls["platform"]} if len(set(own.values())) == 1 else own),
        "SERVICES": "" if served == SERVICES else ",".join(served),
        "EMBUDO_INSTANCE": str(folder / name),
        "PORT": str(port),
        "PUBLIC_URL": common.get("PUBLIC_URL") or f"http://127.0.0.1:{port}",
    }
    return Group(name, env, port, folder, launch)


def _environment(
    folder: Path, redis_url: str, meta: MetaServer, twilio: TwilioServer, mail: SmtpScript
) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "REDIS_URL": redis_url,
        "SECRET_KEY": SECRET_KEY,
        "CLAIM_SECONDS": str(CLAIM_SECONDS),
        "WHATSAPP_ANSWER_SECONDS": str(ANSWER_SECONDS),
        "MAIL_ANSWER_SECONDS": str(ANSWER_SECONDS),
        "WEB_CONCURRENCY": "1",
        # An orphan whose gunicorn was killed waits so long for its kept connections.
        "GUNICORN_CMD_ARGS": "--graceful-timeout 2",
        "API_RATE_PER_SECOND": "1000",
        "API_BURST": "1000",
        "META_APP_SECRET": meta_server.APP_SECRET,
        "META_VERIFY_TOKEN": meta_server.VERIFY_TOKEN,
        "META_ACCESS_TOKEN": meta_server.ACCESS_TOKEN,
        "META_PHONE_NUMBER_ID": meta_server.PHONE_NUMBER_ID,
        "META_GRAPH_URL": meta.url,
        "TWILIO_ACCOUNT_SID": twilio_server.ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": twilio_server.AUTH_TOKEN,
        "TWILIO_WHATSAPP_FROM": twilio_server.SENDER.removeprefix("whatsapp:"),
        "TWILIO_API_URL": twilio.url,
        "MAIL_SERVER": "127.0.0.1",
        "MAIL_PORT": str(mail.port),
        "MAIL_DEFAULT_SENDER": "Ventas <ventas@example.com>",
        "WEBHOOKS_ALLOW_PRIVATE": "127.0.0.1",
    }
