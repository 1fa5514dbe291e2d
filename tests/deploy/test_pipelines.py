"""The pipelines are well-formed, name only what is there, and may do no more than they must."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.services import SERVICES

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
        own = {f"app/{name}/**", "app/kit/**", "app/contracts/**", f"migrations/versions/{name}/**"}
        assert own <= set(paths) == set(workflow["on"]["pull_request"]["paths"])
        assert not any(f"app/{other}/" in path for other in SERVICES if other != name for path in paths)
        assert workflow["jobs"]["service"]["with"] == {"service": name}


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
