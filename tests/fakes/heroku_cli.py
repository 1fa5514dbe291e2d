"""Stands for the program `heroku`, as far as a deployment asks it: an app's releases, kept in a file.

``heroku_cli.py STATE releases --json …``; ``heroku_cli.py STATE received COMMIT`` is what Heroku does with a push.
A commit whose message says `no migration` fails in its release phase; `no dyno` never comes up.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any


class App:
    """The app as its file says it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: dict[str, Any] = json.loads(path.read_text())

    def save(self) -> None:
        self.path.write_text(json.dumps(self.state))

    @property
    def releases(self) -> list[dict[str, Any]]:
        """The oldest first."""
        return self.state["releases"]

    def add(self, description: str) -> None:
        """A release; what fails in its release phase does not become the current one."""
        failed = "no migration" in description
        if not failed:
            for item in self.releases:
                item["current"] = False
        self.releases.append(
            {
                "version": len(self.releases) + 1, "description": description, "current": not failed,
                "status": "failed" if failed else "succeeded",
            }
        )  # fmt: skip
        self.save()

    @property
    def current(self) -> str:
        """What runs."""
        return next((item["description"] for item in self.releases if item["current"]), "")


def main(state: str, command: str, *words: str) -> None:
    app = App(Path(state))
    app.state["asked"].append(" ".join([command, *words]))
    app.save()
    match command:
        case "received":
            app.add(words[0])
        case "config:get":
            print(app.state["config"].get(words[0], ""))
        case "releases":
            print(json.dumps(app.releases[::-1]))
        case "releases:output":
            print("the last words of the release phase")
        case "releases:rollback":
            (found,) = [item for item in app.releases if f"v{item['version']}" == words[0]]
            app.add(found["description"])
        case "pipelines:promote":
            app.add(app.state["staging"])
        case "ps:wait":
            if "no dyno" in app.current:
                signal.pause()
        case _:
            sys.exit(f"unknown: {command}")


if __name__ == "__main__":
    main(*sys.argv[1:])
