"""deploy/heroku/deploy.sh: release phase, dynos, smoke, and back, with real git and a stand-in of Heroku's program.

Outside stands the product itself; while a commit runs that is called bad, what people reach answers 500.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from flask import Flask

from tests.fakes import heroku_cli
from tests.fakes.heroku_cli import App
from tests.fakes.loopback import Answer, LoopbackServer, Received
from tests.fakes.site import Said, Site, serve
from tests.journeys.processes import ROOT

CLI = Path(heroku_cli.__file__)


@dataclass
class Deployer:
    """Somebody with a clone, git and the program `heroku`."""

    folder: Path
    site: Site
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        state = self.folder / "app.json"
        state.write_text(json.dumps({"releases": [], "asked": [], "config": {"PUBLIC_URL": self.site.url}}))
        heroku = f'exec {sys.executable} {CLI} {state} "$@"'
        self._script("bin/heroku", heroku)
        self.git("init", "-q", "--bare", str(self.folder / "heroku.git"))
        self._script(
            "heroku.git/hooks/post-receive",
            f'while read _ new _; do {sys.executable} {CLI} {state} received "$(git log -1 --format=%s "$new")"; done',
        )
        self.git("init", "-q", str(self.folder / "clone"))

    def _script(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    @property
    def app(self) -> App:
        return App(self.folder / "app.json")

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], check=True, env=self.environment(), cwd=self.folder)

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(self.folder),
            "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.com", "GIT_COMMITTER_NAME": "Ann",
            "GIT_COMMITTER_EMAIL": "ann@example.com", "GIT_TERMINAL_PROMPT": "0",
            "EMBUDO_HEROKU_GIT": str(self.folder / "heroku.git"), "EMBUDO_SMOKE_SECONDS": "0", **self.extra,
        }  # fmt: skip

    def deploy(self, commit: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Commit with this message, and run the script."""
        clone = self.folder / "clone"
        self.git("-C", str(clone), "commit", "-q", "--allow-empty", "-m", commit)
        return subprocess.run(
            [str(ROOT / "deploy" / "heroku" / "deploy.sh"), "acme-crm", *more],
            cwd=clone, env=self.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip

    def did(self) -> list[str]:
        """What changed something or waited, in order."""
        return [line for line in self.app.state["asked"] if not line.startswith(("releases ", "config:get"))]


@pytest.fixture
def deployer(app: Flask, tmp_path: Path) -> Iterator[Deployer]:
    with serve(app) as site:
        made = Deployer(tmp_path, site)

        def instead(_method: str, _path: str) -> Said | None:
            return (500, "text/html", b"Sorry") if "bad" in made.app.current else None

        site.instead = instead
        yield made


def test_a_release_is_migrated_rolled_out_and_asked_in_this_order(deployer: Deployer) -> None:
    done = deployer.deploy("first")
    assert done.returncode == 0, done.stdout + done.stderr
    assert deployer.did() == ["received first", "ps:wait --app acme-crm"]
    assert ("POST", "/leads") in deployer.site.asked
    steps = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("===")]
    assert steps == ["migrate:", "roll", "smoke:"]


def test_when_the_release_phase_fails_its_words_are_shown_and_the_former_release_runs_on(
    deployer: Deployer,
) -> None:
    deployer.deploy("first")
    deployer.site.asked.clear()
    done = deployer.deploy("no migration")
    assert done.returncode == 1
    assert (
        "the last words of the release phase" in done.stderr and "the former release runs on" in done.stderr
    )
    assert deployer.app.current == "first"
    assert not [line for line in deployer.did() if "rollback" in line]
    assert deployer.site.asked == []


def test_a_release_that_does_not_answer_is_taken_back_and_the_former_one_is_asked(deployer: Deployer) -> None:
    deployer.deploy("first")
    done = deployer.deploy("bad")
    assert done.returncode == 1
    assert "the former release is back and answers" in done.stderr
    assert deployer.did()[-3:] == [
        "ps:wait --app acme-crm",
        "releases:rollback v1 --app acme-crm",
        "ps:wait --app acme-crm",
    ]
    assert deployer.app.current == "first"
    assert deployer.deploy("second").returncode == 0, "and the next one goes through"


def test_what_is_taken_back_is_what_ran_and_not_what_failed_since(deployer: Deployer) -> None:
    for commit in ("first", "no migration", "bad"):
        deployer.deploy(commit)
    assert "releases:rollback v1 --app acme-crm" in deployer.did()
    assert deployer.app.current == "first"


def test_dynos_that_never_come_up_are_not_waited_for_without_end(deployer: Deployer) -> None:
    deployer.deploy("first")
    deployer.extra["EMBUDO_DEPLOY_SECONDS"] = "1"
    done = deployer.deploy("no dyno")
    assert done.returncode == 1
    assert "the dynos do not come up" in done.stderr
    assert deployer.app.current == "first"


def test_production_takes_what_staging_runs_without_a_build(deployer: Deployer) -> None:
    deployer.deploy("first")
    state = deployer.app
    state.state["staging"] = "second"
    state.save()
    done = deployer.deploy("not yet tried", "acme-crm-staging")
    assert done.returncode == 0, done.stdout + done.stderr
    assert deployer.app.current == "second"
    assert "pipelines:promote --app acme-crm-staging --to acme-crm" in deployer.did()
    assert not [line for line in deployer.did() if line == "received not yet tried"]


def test_a_first_release_that_does_not_answer_is_left_to_be_looked_at(deployer: Deployer) -> None:
    done = deployer.deploy("bad")
    assert done.returncode == 1
    assert "no former release" in done.stderr and deployer.app.current == "bad"


class GitHost(LoopbackServer):
    """Lets in who has the key, and then has no such repository."""

    def handle(self, request: Received) -> Answer:
        if "authorization" not in request.headers:
            return Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="Git"'})
        return Answer(status=404)


def test_a_pipeline_pushes_with_its_key_and_does_not_show_it(deployer: Deployer) -> None:
    key = "HRKU-0000-a-key"
    with GitHost() as host:
        deployer.extra |= {"HEROKU_API_KEY": key, "EMBUDO_HEROKU_GIT": f"{host.url}/acme-crm.git"}
        done = deployer.deploy("first")
        shown = {request.headers.get("authorization") for request in host.requests} - {None}
    assert done.returncode != 0 and key not in done.stdout + done.stderr
    assert shown == {"Basic " + base64.b64encode(f"heroku:{key}".encode()).decode()}
