"""Each wall holds: a deliberate breach in a copy of the tree is caught, and the tree as it is passes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BREACHES = {
    "a service imports its neighbour": (
        "app/leads/commands/create.py",
        "import app.whatsapp.queries",
        "do not know each",
    ),
    "the admin frame imports a service": (
        "app/admin/pages.py",
        "import app.leads.models",
        "do not know each",
    ),
    "the kit imports the admin frame": ("app/kit/cache.py", "import app.admin.pages", "do not know each"),
    "the contracts import the kit": ("app/contracts/events.py", "import app.kit.errors", "do not know each"),
    "the wiring is imported from inside": ("app/kit/cache.py", "from app import create_app", "what wires it"),
    "a command imports its door": (
        "app/leads/commands/create.py",
        "import app.leads.api",
        "leads: doors above",
    ),
    "a door imports its neighbour door": (
        "app/leads/api/leads.py",
        "import app.leads.admin.leads",
        "leads: doors above",
    ),
    "a query imports a command": (
        "app/email/queries/messages.py",
        "import app.email.commands",
        "email: doors above",
    ),
    "a service grows a utils module": ("app/leads/utils.py", "", "leads: doors above"),
    "the top grows a helpers package": ("app/helpers.py", "", "do not know each"),
    "the engine reads the database": ("app/whatsapp/engine/advance.py", "import app.kit.db", "Pure modules"),
    "the engine knows the web": ("app/whatsapp/engine/advance.py", "import flask", "Pure modules"),
    "matching asks the network": ("app/leads/matching.py", "import requests", "Pure modules"),
    "rendering looks into Redis": ("app/email/render/__init__.py", "import redis", "Pure modules"),
    "the template language grows a dependency": ("app/kit/text.py", "import app.kit.cache", "Pure modules"),
    "an adapter sees tables": (
        "app/whatsapp/providers/meta.py",
        "import app.whatsapp.models",
        "Adapters see no",
    ),
    "an adapter opens a transaction": ("app/email/providers/smtp.py", "import app.kit.db", "Adapters see no"),
    "the API uses Flask-AppBuilder": (
        "app/leads/api/leads.py",
        "import flask_appbuilder",
        "only admin modules",
    ),
    "the kit uses Flask-AppBuilder": (
        "app/kit/auth.py",
        "import flask_appbuilder.security",
        "only admin modules",
    ),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "app", copy / "app", ignore=shutil.ignore_patterns("static", "__pycache__"))
    for name in ("pyproject.toml", "config.py", "wsgi.py", "worker.py"):
        shutil.copy(ROOT / name, copy)
    return copy


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=tree,
        env={"PATH": "", "COLUMNS": "300", "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_kit_that_pure_modules_may_not_use_is_listed_in_full() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (pure,) = [contract for contract in settings if contract["name"].startswith("Pure modules")]
    modules = {
        path.stem for path in (ROOT / "app" / "kit").iterdir() if path.suffix == ".py" or path.is_dir()
    }
    expected = {f"app.kit.{name}" for name in modules - {"__init__", "__pycache__", "storable", "text"}}
    assert {name for name in pure["forbidden_modules"] if name.startswith("app.")} == expected


def test_the_walls_stand(tree: Path) -> None:
    answer = lint(tree)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_caught(tree: Path, breach: str) -> None:
    name, line, wall = BREACHES[breach]
    path = tree / name
    before = path.read_text() if path.exists() else None
    path.write_text(f"{before or ''}\n{line}\n")
    try:
        answer = lint(tree)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    broken = [text for text in answer.stdout.splitlines() if text.endswith("BROKEN")]
    assert any(wall in text for text in broken), answer.stdout


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import importlib\n\nimportlib.import_module('app.leads')\n", "TID251"),
        ("from importlib import import_module\n\nimport_module('app.leads')\n", "TID251"),
        ("import uuid\n\nuuid.uuid4()\n", "TID251"),
        ("# TODO: later\n", "TD"),
    ],
)
def test_house_rules_are_checked_outside_their_one_exception(tree: Path, code: str, rule: str) -> None:
    path = tree / "app" / "kit" / "breach.py"
    path.write_text(f'"""A breach."""\n\n{code}')
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", str(path)],
            cwd=tree,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        path.unlink()
    assert answer.returncode == 1
    assert f" {rule}" in answer.stdout
