"""What the README and platforms call by name is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = (
    *("help", "run", "up", "test", "check", "lint", "types", "golden", "lock", "build", "bench", "browser"),
    *("migration", "translations", "clean"),
)

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@needs_make
def test_make_lists_every_target() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = re.sub(r"\x1b\[\d+m", "", shown)
    for target in TARGETS:
        assert re.search(rf"^ +{target} ", listed, re.MULTILINE), f"make {target} is not in the list"


@needs_make
@pytest.mark.parametrize("target", [target for target in TARGETS if target != "clean"])
def test_every_target_can_be_made(target: str) -> None:
    """A dry run: make finds every prerequisite and reads every recipe."""
    subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)


@needs_make
def test_a_python_that_is_too_old_is_refused_with_a_way_out(tmp_path: Path) -> None:
    old = tmp_path / "bin"
    old.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        program = old / name
        program.write_text('#!/bin/sh\ncase "$1" in --version) echo "Python 3.9.2";; *) exit 1;; esac\n')
        program.chmod(0o755)
    for name in ("sh", "rm", "awk"):
        (old / name).symlink_to(shutil.which(name) or "")
    answer = subprocess.run(
        [
            shutil.which("make") or "make",
            f"VENV={tmp_path}/venv",
            f"PYTHONS={old}/python3",
            f"{tmp_path}/venv/bin/python",
        ],
        cwd=ROOT,
        env={"PATH": str(old)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode != 0
    assert "needs Python 3.11 or newer; found: Python 3.9.2" in answer.stderr


def procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if line)


def test_the_procfile_names_the_four_processes() -> None:
    assert procfile() == {
        "release": "flask ops setup",
        "web": 'gunicorn -c deploy/gunicorn.conf.py --bind "${HOST:-0.0.0.0}:${PORT:-8080}"',
        "worker": "python worker.py",
        "relay": "python worker.py relay",
    }


def test_gunicorn_understands_its_configuration(tmp_path: Path) -> None:
    command = procfile()["web"].replace("gunicorn", "exec python -m gunicorn --print-config", 1)
    answer = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=ROOT,
        env={
            "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
            "EMBUDO_INSTANCE": str(tmp_path),
            "PORT": "8765",
            "WEB_CONCURRENCY": "3",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    shown = dict(re.findall(r"^(\w+) += (.*)$", answer.stdout, re.MULTILINE))
    assert shown["bind"] == "['0.0.0.0:8765']"
    assert (shown["workers"], shown["worker_class"], shown["reuse_port"]) == ("3", "gthread", "True")
    assert shown["control_socket_disable"] == "True"
    assert (shown["timeout"], shown["graceful_timeout"]) == ("30", "20")


def test_pins_name_no_index_and_no_machine() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        assert not re.search(r"^--|://|^file:|@ file", text, re.MULTILINE), name
        for line in text.splitlines():
            if line and not line.startswith("#"):
                assert re.match(r"^[a-z0-9][\w.-]*(\[[\w,-]+\])?==\S+", line), f"{name}: {line} is not pinned"


def test_every_requirement_is_pinned_where_it_belongs() -> None:
    def names(file: str) -> set[str]:
        found = re.findall(r"^([A-Za-z0-9][\w.-]*)", (ROOT / file).read_text(), re.MULTILINE)
        return {name.lower().replace("_", "-") for name in found}

    assert names("requirements.in") <= names("requirements.txt"), "run make lock"
    assert names("requirements-dev.in") | names("requirements.txt") <= names("requirements-dev.txt"), (
        "run make lock"
    )


def test_generated_things_are_not_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {".venv/", "instance/", "node_modules/", "app/admin/static/build/", ".env"} <= set(ignored)


def test_the_ci_script_fails_on_the_first_failure_and_runs_what_the_readme_says() -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text()
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in text
    for command in ("make test", "make check"):
        assert command in text
        assert command in (ROOT / "README.md").read_text()
