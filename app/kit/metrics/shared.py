"""Counters of several processes in one folder, exact over restarts, and never more files than processes.

prometheus_client names its files by process id: a worker that dies leaves its files behind, for the counts must not
fall, and so they pile up (client_python issues 275 and 568). Here a process takes the lowest number that no living
process holds and goes on counting in that number's files. The kernel gives a number back when its process ends,
however it ends; nobody has to be told of a death.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client import values

IN_USE = "in-use.lock"
"""Locked for as long as any process counts in the folder; who finds it free may throw away what lies there."""

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus_client looks for the folder when it opens its files."""


class _Numbers:
    """Says which number this process counts under; asked at every count, so the answer must cost nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = 0
        self._number = ""
        self._lock = -1

    def __call__(self) -> str:
        if self._pid != os.getpid():
            self._take()
        return self._number

    def _take(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)  # inherited over fork(): the number stays our parent's
            self._lock = -1
        number = 0
        while self._lock < 0:
            lock = os.open(self._folder / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                number += 1
            else:
                self._lock = lock
        self._pid, self._number = os.getpid(), str(number)


def join(config: Mapping[str, Any]) -> None:
    """Count in the folder that the configuration names, if anybody may read it; ends the process when that cannot be.

    Called by what starts a process that serves, before anything is counted.
    """
    if not config["METRICS_TOKEN"]:
        return
    try:
        share(config["METRICS_DIR"])
    except OSError as error:
        sys.exit(
            f"METRICS_DIR={config['METRICS_DIR']} cannot be written to ({error.strerror}); choose another."
        )


_held: dict[Path, int] = {}


def share(folder: Path) -> None:
    """Count in this folder from now on, together with all processes that do the same and with our children.

    What an earlier run left behind is thrown away, unless somebody else is counting there. Raises OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder not in _held:
        # Children keep the lock after us: it is the open file that holds it, and they have it, too.
        lock = os.open(folder / IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            for left in folder.glob("*.db"):
                left.unlink()
        fcntl.flock(lock, fcntl.LOCK_SH)
        _held[folder] = lock
    os.environ[FOLDER_VARIABLE] = str(folder)
    # prometheus_client decides when it is imported, which is before the configuration is read. No value was made yet:
    # every counter of ours has labels, and its values come with the first count.
    values.ValueClass = values.MultiProcessValue(_Numbers(folder))


def folder() -> str | None:
    """The folder in which this process counts together with others, or None when it counts alone."""
    return os.environ.get(FOLDER_VARIABLE) if getattr(values.ValueClass, "_multiprocess", False) else None
