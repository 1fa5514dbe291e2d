"""Migrate, roll out, smoke, roll back: the scripts with the real kubectl, which speaks to a stand-in of a cluster.

Outside stands the product itself; where an image is called bad, what people reach answers 500 as long as it runs.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from flask import Flask

from app.services import SERVICES
from tests.deploy.test_kubernetes import FOLDER, kubectl
from tests.fakes.kubernetes_server import LAST_APPLIED, SAID, KubernetesServer
from tests.fakes.loopback import Answer, Received
from tests.fakes.site import Said, Site, serve
from tests.journeys.processes import ROOT

pytestmark = pytest.mark.kubernetes

FIRST, SECOND, BAD = (f"ghcr.io/acme/embudo@sha256:{digit * 64}" for digit in "12b")
STAGING, PRODUCTION = (FOLDER / "overlays" / name for name in ("staging", "production"))
PARTS = tuple(sorted(f"{service}-{part}" for service in SERVICES for part in ("relay", "web", "worker")))
LEADS = ("leads-relay", "leads-web", "leads-worker")


@dataclass
class Deployer:
    """Somebody with the scripts and a kubeconfig."""

    cluster: KubernetesServer
    site: Site
    folder: Path

    def environment(self) -> dict[str, str]:
        """What the scripts see."""
        return {
            "PATH": f"{Path(kubectl()).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(self.folder),
            "KUBECONFIG": str(self.folder / "kubeconfig"), "EMBUDO_SMOKE_URL": self.site.url,
            "EMBUDO_SMOKE_SECONDS": "0",
        }  # fmt: skip

    def run(self, script: str, *words: str | Path, service: str = "") -> subprocess.CompletedProcess[str]:
        """Run a script, for one service or all; what was asked of the cluster and the site before is forgotten."""
        self.cluster.asked.clear()
        self.site.asked.clear()
        return subprocess.run(
            [str(FOLDER / script), *map(str, words)],
            env={**self.environment(), "SERVICE": service}, cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def pipeline(self, job: str, image: str, service: str = "") -> list[int]:
        """The steps of a job of deploy.yml as a runner does them, but for fetching kubectl; their exit statuses.

        service: those of service.yml for this one.
        """
        workflow = "service.yml" if service else "deploy.yml"
        found = yaml.safe_load((ROOT / ".github" / "workflows" / workflow).read_text())["jobs"][job]
        told = self.folder / "told"
        told.touch()
        env = self.environment()
        text = Path(env.pop("KUBECONFIG")).read_text()
        env |= {name: service for name, value in found["env"].items() if value == "${{ inputs.service }}"}
        env |= {"RUNNER_TEMP": str(self.folder / "runner"), "GITHUB_ENV": str(told)}
        env |= {"IMAGE": image, "OVERLAY": found["env"]["OVERLAY"], "EMBUDO_DEPLOY_SECONDS": "600"}
        (self.folder / "runner").mkdir(exist_ok=True)
        statuses = []
        for step in found["steps"]:
            if "run" in step and step["name"] != "kubectl":
                secret = {"KUBECONFIG_TEXT": text} if "KUBECONFIG_TEXT" in step["env"] else {}
                added = dict(line.split("=", 1) for line in told.read_text().splitlines())
                done = subprocess.run(
                    ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
                    env=env | added | secret, cwd=ROOT, capture_output=True, check=False,
                )  # fmt: skip
                statuses.append(done.returncode)
        return statuses

    def deploy(
        self, image: str, overlay: Path = STAGING, service: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """deploy.sh."""
        return self.run("deploy.sh", overlay, image, service=service)

    def undone(self) -> list[str]:
        """The Deployments whose template was put back, in order: `kubectl rollout undo` sends a list of changes."""
        return [
            request.path.rpartition("/")[2]
            for request in self.cluster.requests
            if request.method == "PATCH"
            and "/deployments/" in request.path
            and isinstance(request.json, list)
        ]


@pytest.fixture
def deployer(app: Flask, tmp_path: Path) -> Iterator[Deployer]:
    with KubernetesServer() as cluster, serve(app) as site:
        cluster.configure(tmp_path / "kubeconfig")

        def instead(_method: str, _path: str) -> Said | None:
            return (500, "text/html", b"Sorry") if BAD in cluster.images().values() else None

        site.instead = instead
        yield Deployer(cluster, site, tmp_path)


def test_a_release_is_migrated_rolled_out_and_asked_in_this_order(deployer: Deployer) -> None:
    assert deployer.deploy(FIRST).returncode == 0
    done = deployer.deploy(SECOND)
    assert done.returncode == 0, done.stdout + done.stderr
    order = deployer.cluster.order()
    assert order.index("create jobs") < order.index("patch deployments/leads-relay")
    assert order.index("create configmaps") < order.index("patch deployments/leads-relay"), (
        "what was, is kept first"
    )
    assert deployer.cluster.images() == dict.fromkeys(PARTS, SECOND)
    steps = [
        line.removeprefix("=== ").partition(":")[0]
        for line in done.stdout.splitlines()
        if line.startswith("===")
    ]
    assert steps == ["migrate", "roll out", "smoke"]
    assert ("POST", "/leads") in deployer.site.asked
    assert deployer.undone() == []


def test_the_pipeline_gets_in_by_its_secret_and_fails_when_it_had_to_go_back(deployer: Deployer) -> None:
    assert deployer.pipeline("staging", FIRST) == [0, 0]
    assert deployer.cluster.images() == dict.fromkeys(PARTS, FIRST)
    assert (deployer.folder / "runner" / "kubeconfig").stat().st_mode & 0o077 == 0
    assert deployer.pipeline("staging", BAD) == [0, 1]
    assert deployer.cluster.images() == dict.fromkeys(PARTS, FIRST)


def test_when_the_job_fails_its_log_is_shown_and_nothing_else_has_changed(deployer: Deployer) -> None:
    deployer.deploy(FIRST)
    deployer.cluster.never_done.add(SECOND)
    done = deployer.deploy(SECOND)
    assert done.returncode == 1
    assert SAID in done.stderr and "the processes were left as they are" in done.stderr
    assert deployer.cluster.images() == dict.fromkeys(PARTS, FIRST)
    assert not [line for line in deployer.cluster.order() if "deployments" in line]
    assert deployer.site.asked == []


def test_a_release_that_does_not_answer_is_taken_back_and_the_former_one_is_asked(deployer: Deployer) -> None:
    deployer.deploy(FIRST)
    done = deployer.deploy(BAD)
    assert done.returncode == 1
    assert "WRONG" in done.stdout and "the former release is back and answers" in done.stderr
    assert deployer.undone() == list(PARTS)
    assert deployer.cluster.images() == dict.fromkeys(PARTS, FIRST)
    assert deployer.site.asked.count(("GET", "/healthz")) == 2
    for name in PARTS:  # the next release is compared with what runs now
        annotations = deployer.cluster.stored["deployments", name]["metadata"]["annotations"]
        applied = json.loads(annotations[LAST_APPLIED])
        assert applied["spec"]["template"]["spec"]["containers"][0]["image"] == FIRST
    assert deployer.deploy(SECOND).returncode == 0
    assert deployer.cluster.images() == dict.fromkeys(PARTS, SECOND)


def test_a_release_that_does_not_become_ready_is_taken_back_and_never_asked(deployer: Deployer) -> None:
    deployer.deploy(FIRST)
    deployer.cluster.never_ready.add(SECOND)
    done = deployer.deploy(SECOND)
    assert done.returncode == 1
    assert "does not become ready" in done.stderr
    assert deployer.cluster.images() == dict.fromkeys(PARTS, FIRST)
    assert deployer.site.asked.count(("GET", "/healthz")) == 1, "only the former one"


def test_a_process_that_did_not_change_is_not_taken_back(deployer: Deployer) -> None:
    deployer.deploy(FIRST)
    deployer.deploy(SECOND)
    mine = ROOT / "deploy" / "kubernetes" / "overlays" / "staging"
    overlay = deployer.folder / "overlay"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": [os.path.relpath(mine, overlay.resolve())],
                "patches": [
                    {
                        "target": {"kind": "Deployment", "name": "leads-worker"},
                        "patch": json.dumps([{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": ["nothing"]}]),
                    }
                ],
            }
        )
    )  # fmt: skip
    deployer.site.instead = lambda _method, _path: (500, "text/html", b"Sorry")
    done = deployer.deploy(SECOND, overlay)
    assert done.returncode == 1
    assert deployer.undone() == ["leads-worker"]
    assert deployer.cluster.images() == dict.fromkeys(PARTS, SECOND), "and not what was before that"
    assert "does not answer either" in done.stderr


def test_a_first_release_that_does_not_answer_is_left_to_be_looked_at(deployer: Deployer) -> None:
    done = deployer.deploy(BAD)
    assert done.returncode == 1
    assert "no former release" in done.stderr
    assert deployer.undone() == []


def test_people_may_go_back_later_and_only_once(deployer: Deployer) -> None:
    deployer.deploy(FIRST)
    deployer.deploy(SECOND)
    assert deployer.run("rollback.sh", "embudo-staging").returncode == 0
    assert deployer.cluster.images() == dict.fromkeys(PARTS, FIRST)
    again = deployer.run("rollback.sh", "embudo-staging")
    assert again.returncode == 1 and "nothing to take back in embudo-staging" in again.stderr
    assert deployer.cluster.images() == dict.fromkeys(PARTS, FIRST)


def test_going_back_can_be_tried_again_when_the_cluster_failed_in_the_middle(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployer.deploy(FIRST)
    deployer.deploy(SECOND)
    handle = deployer.cluster.handle

    def failing(request: Received) -> Answer:
        if request.method == "PATCH" and request.path.endswith("/leads-web"):
            return Answer(
                status=500, body={"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500}
            )
        return handle(request)

    monkeypatch.setattr(deployer.cluster, "handle", failing)
    assert deployer.run("rollback.sh", "embudo-staging").returncode != 0
    monkeypatch.undo()
    assert deployer.run("rollback.sh", "embudo-staging").returncode == 0
    assert deployer.cluster.images() == dict.fromkeys(PARTS, FIRST)
    assert deployer.undone().count("leads-relay") == 1


def test_a_sidecar_keeps_its_own_image(deployer: Deployer) -> None:
    overlay = deployer.folder / "overlay"
    overlay.mkdir()
    sidecar = {"name": "proxy", "image": "registry.example.com/proxy:2"}
    (overlay / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": [os.path.relpath(STAGING, overlay.resolve())],
                "patches": [
                    {
                        "target": {"kind": "Deployment"},
                        "patch": json.dumps([{"op": "add", "path": "/spec/template/spec/containers/-", "value": sidecar}]),
                    }
                ],
            }
        )
    )  # fmt: skip
    assert deployer.deploy(FIRST, overlay).returncode == 0
    for name in PARTS:
        containers = deployer.cluster.stored["deployments", name]["spec"]["template"]["spec"]["containers"]
        assert [item["image"] for item in containers] == [FIRST, sidecar["image"]]


@pytest.mark.parametrize("overlay", [STAGING, PRODUCTION], ids=lambda path: path.name)
def test_the_deployer_may_do_all_of_it_and_reads_no_secret(deployer: Deployer, overlay: Path) -> None:
    items = list(yaml.safe_load_all((FOLDER / "deployer.yaml").read_text()))
    for item in items:
        kubernetes_validate.validate(item, "1.37", strict=True)
    (rules,) = [item["rules"] for item in items if item["kind"] == "Role"]
    allowed = {
        (verb, group, kind)
        for rule in rules for group in rule["apiGroups"] for kind in rule["resources"] for verb in rule["verbs"]
    }  # fmt: skip
    assert not {kind for _, _, kind in allowed} & {"secrets", "*"}
    for image in (FIRST, BAD):
        deployer.deploy(image, overlay)
        asked = {(asked.verb, asked.group, asked.kind) for asked in deployer.cluster.asked}
        assert asked - allowed == set()
    assert deployer.undone(), "it went back, too"
    deployer.cluster.never_done.add(FIRST)
    deployer.deploy(FIRST, overlay)
    assert {(asked.verb, asked.group, asked.kind) for asked in deployer.cluster.asked} - allowed == set()


# --- one service by itself ---------------------------------------------------------------------------------------------


def test_a_service_is_deployed_by_itself_and_the_others_are_not_touched(deployer: Deployer) -> None:
    deployer.deploy(FIRST)
    done = deployer.deploy(SECOND, service="leads")
    assert done.returncode == 0, done.stdout + done.stderr
    assert deployer.cluster.images() == dict.fromkeys(PARTS, FIRST) | dict.fromkeys(LEADS, SECOND)
    touched = {asked.name for asked in deployer.cluster.asked if asked.verb == "patch"}
    assert not {name for name in touched if name.partition("-")[0] in set(SERVICES) - {"leads"}}
    job = deployer.cluster.stored["jobs", "release-leads"]["spec"]["template"]["spec"]["containers"][0]
    assert job["image"] == SECOND
    assert {"name": "SERVICES", "value": "leads"} in job["env"]
    assert ("POST", "/leads") in deployer.site.asked
    assert ("POST", "/email") not in deployer.site.asked, "another service's fault is no reason to go back"


def test_a_service_that_does_not_answer_is_taken_back_by_itself(deployer: Deployer) -> None:
    deployer.deploy(FIRST)
    deployer.deploy(SECOND, service="email")
    done = deployer.deploy(BAD, service="leads")
    assert done.returncode == 1
    assert "the former release is back and answers" in done.stderr
    assert deployer.undone() == list(LEADS)
    still = {name: SECOND for name in PARTS if name.startswith("email-")}
    assert deployer.cluster.images() == dict.fromkeys(PARTS, FIRST) | still
    back = deployer.run("rollback.sh", "embudo-staging", service="email")
    assert back.returncode == 0, back.stderr
    assert deployer.cluster.images() == dict.fromkeys(PARTS, FIRST)


def test_the_pipeline_of_a_service_deploys_that_one(deployer: Deployer) -> None:
    assert deployer.pipeline("staging", FIRST) == [0, 0]
    assert deployer.pipeline("staging", SECOND, "webhooks") == [0, 0]
    new = {name: SECOND for name in PARTS if name.startswith("webhooks-")}
    assert deployer.cluster.images() == dict.fromkeys(PARTS, FIRST) | new


def test_people_may_take_back_one_service_and_only_once(deployer: Deployer) -> None:
    deployer.deploy(FIRST)
    deployer.deploy(SECOND)
    assert deployer.run("rollback.sh", "embudo-staging", service="leads").returncode == 0
    assert deployer.cluster.images() == dict.fromkeys(PARTS, SECOND) | dict.fromkeys(LEADS, FIRST)
    again = deployer.run("rollback.sh", "embudo-staging", service="leads")
    assert again.returncode == 1 and "nothing to take back in embudo-staging of leads" in again.stderr
    assert deployer.run("rollback.sh", "embudo-staging").returncode == 0
    assert deployer.cluster.images() == dict.fromkeys(PARTS, FIRST)


def test_a_service_whose_set_up_fails_leaves_everything_as_it_was(deployer: Deployer) -> None:
    deployer.deploy(FIRST)
    deployer.cluster.never_done.add(SECOND)
    done = deployer.deploy(SECOND, service="leads")
    assert done.returncode == 1
    assert SAID in done.stderr
    assert deployer.cluster.images() == dict.fromkeys(PARTS, FIRST)


def test_a_service_that_the_overlay_does_not_run_by_itself_is_refused(deployer: Deployer) -> None:
    done = deployer.deploy(FIRST, FOLDER / "overlays" / "monolith", service="leads")
    assert done.returncode == 1 and "has no service leads by itself" in done.stderr
    assert deployer.cluster.asked == []
