"""What imports cannot show, asked of the app itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from flask import Flask

from app.contracts.events import EVENTS, LISTENERS
from app.kit import db, jobs, migrate
from app.kit.auth import SCOPES
from app.services import SERVICES, handlers, part

ROOT = Path(__file__).resolve().parents[2]


def test_every_route_says_who_may_use_it(session_app: Flask) -> None:
    """API and callback routes carry @needs or @public; the admin's are guarded by FAB's own decorators."""
    silent = []
    for rule in session_app.url_map.iter_rules():
        view = session_app.view_functions[rule.endpoint]
        module = getattr(view, "__module__", "")
        if not module.startswith(("app.kit", *(f"app.{name}.api" for name in SERVICES))) and not re.match(
            r"app\.\w+\.callbacks", module
        ):
            continue
        if not getattr(view, "embudo_auth", None):
            silent.append(f"{rule.rule} ({rule.endpoint})")
    assert silent == [], "these routes need @needs(scope) or @public(reason)"


def test_every_scope_opens_a_route(session_app: Flask) -> None:
    opened = {getattr(view, "embudo_auth", None) for view in session_app.view_functions.values()}
    assert set(SCOPES) <= opened, "nobody should be offered what does nothing"


def test_every_queue_has_a_worker_and_every_job_a_queue(session_app: Flask) -> None:
    drained = {queue for service in SERVICES.values() for queue in service.queues}
    with session_app.app_context():
        assert {job.queue for job in jobs.known().values()} == drained


def test_job_names_begin_with_their_service(session_app: Flask) -> None:
    with session_app.app_context():
        for job in jobs.known().values():
            assert job.name.partition(".")[0] in SERVICES


def test_every_table_lives_in_the_database_its_name_says(session_app: Flask) -> None:
    for bind, metadatas in session_app.extensions["embudo_metadata"].items():
        for metadata in metadatas:
            for table in metadata.tables.values():
                assert table.name.startswith(migrate.prefixes(bind)), f"{table.name} is in {bind}"
                assert table.metadata.info.get("bind_key", db.PLATFORM) == bind


def test_no_foreign_key_leaves_its_database(session_app: Flask) -> None:
    for bind, metadatas in session_app.extensions["embudo_metadata"].items():
        for metadata in metadatas:
            for table in metadata.tables.values():
                for key in table.foreign_keys:
                    assert key.column.table.name.startswith(migrate.prefixes(bind)), (
                        f"{table.name}.{key.parent.name}"
                    )


@pytest.mark.parametrize("bind", ["platform", *SERVICES])
def test_every_history_has_one_head_and_says_all_that_the_models_say(app: Flask, bind: str) -> None:
    script = ScriptDirectory.from_config(migrate.config_of(bind))
    assert len(script.get_heads()) == 1
    assert migrate.differences(bind) == []


@pytest.mark.parametrize("bind", ["platform", *SERVICES])
def test_migration_files_are_numbered_without_gaps(bind: str) -> None:
    numbers = sorted(
        int(re.search(r"_(\d{4})_", path.name)[1])
        for path in (migrate.HISTORY / "versions" / bind).glob("*.py")
    )
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("name", list(SERVICES))
def test_a_service_boots_alone_without_loading_the_others(name: str, tmp_path: Path) -> None:
    code = (
        "import sys; from app import create_app; app = create_app();"
        "print(sorted({m.split('.')[1] for m in sys.modules if m.count('.') >= 2 and m.startswith('app.')"
        " and m.split('.')[2] == 'models'}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", code],
        cwd=ROOT,
        env={
            "SERVICES": name,
            "EMBUDO_INSTANCE": str(tmp_path),
            "PATH": "/usr/bin:/bin",
            "LOG_LEVEL": "ERROR",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == str([name])


def test_unknown_services_stop_the_start_and_are_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from app import create_app; create_app()"],
        cwd=ROOT,
        env={"SERVICES": "leads,fax", "EMBUDO_INSTANCE": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "fax" in done.stderr


def test_listeners_and_handlers_agree() -> None:
    for name, service in SERVICES.items():
        listens = {event for event, listeners in LISTENERS.items() if name in listeners}
        assert set(handlers(service)) == listens, name


def test_every_event_belongs_to_a_service_and_has_a_name_of_its_own() -> None:
    for name, event in EVENTS.items():
        assert event.name == name
        assert event.service in SERVICES
        assert event.__doc__


def test_services_consist_of_the_known_parts() -> None:
    known = {
        "models", "commands", "queries", "api", "callbacks", "jobs", "subscribers", "admin", "providers", "demo",
        "doctor", "metrics",
        "engine", "importers", "mapping", "matching", "render", "address", "mime", "signing",
    }  # fmt: skip
    for name in SERVICES:
        found = {path.stem for path in (ROOT / "app" / name).iterdir() if not path.name.startswith("_")}
        assert found <= known, name
        assert part(SERVICES[name], "models") is not None


def test_no_source_file_is_longer_than_four_hundred_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "app").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}
