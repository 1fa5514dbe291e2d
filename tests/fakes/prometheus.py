"""A real Prometheus and Alertmanager on the files of deploy/, and somebody who is told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.fakes.loopback import Answer, LoopbackServer, Received
from tests.fakes.ports import free_port
from tests.journeys.processes import ROOT, await_url

DEPLOY = ROOT / "deploy"


def program(*names: str) -> str:
    """The first of these that is installed; raises RuntimeError where none is."""
    for name in names:
        if found := shutil.which(name):
            return found
    raise RuntimeError(f"{names[0]} is missing; Debian: apt install prometheus prometheus-alertmanager")


def filled(folder: Path, **environ: str) -> Path:
    """Alertmanager's configuration, as its start script fills it."""
    made = folder / "alertmanager.yml"
    subprocess.run(
        ["sh", str(DEPLOY / "alertmanager/start.sh"), str(made)],
        env={"PATH": os.environ["PATH"], "ALERTMANAGER": "true", **environ},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return made


class Pager(LoopbackServer):
    """Remembers each alert that Alertmanager sends, with the path it was sent to and when (unix time)."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, dict[str, Any], float]] = []

    def handle(self, request: Received) -> Answer:
        """Thank you. Whatever is posted elsewhere is no alert."""
        if request.path not in ("/page", "/ticket", "/heartbeat"):
            return Answer(body={})
        self.told += [(request.path, alert, request.at) for alert in request.json["alerts"]]
        return Answer(body={})

    def about(self, status: str, **labels: str) -> list[tuple[str, dict[str, Any], float]]:
        """What it was told of alerts with these labels: firing or resolved."""
        return [
            item
            for item in list(self.told)
            if item[1]["status"] == status and labels.items() <= item[1]["labels"].items()
        ]


class Watch:
    """Both programs. targets: job → [(address, service)]. token: METRICS_TOKEN of what is watched."""

    def __init__(
        self, folder: Path, *, targets: Mapping[str, list[tuple[str, str]]], token: str, pager: Pager
    ) -> None:
        self.folder = folder
        self.pager = pager
        self.port, self.alertmanager_port = free_port(), free_port()
        self._started: list[subprocess.Popen[bytes]] = []
        home = folder / "prometheus"
        shutil.copytree(DEPLOY / "prometheus", home, ignore=shutil.ignore_patterns("targets"))
        (home / "targets").mkdir()
        (home / "secrets").mkdir(exist_ok=True)
        (home / "secrets/metrics_token").write_text(token)
        for job, found in targets.items():
            listed = [{"targets": [address], "labels": {"service": service}} for address, service in found]
            (home / f"targets/{job}.yml").write_text(json.dumps(listed))
        alertmanager = json.dumps([{"targets": [f"127.0.0.1:{self.alertmanager_port}"]}])
        (home / "targets/alertmanager.yml").write_text(alertmanager)

    @property
    def url(self) -> str:
        """Prometheus."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start(
            "alertmanager",
            "sh", str(DEPLOY / "alertmanager/start.sh"), str(self.folder / "alertmanager.yml"),
            f"--storage.path={self.folder}/alertmanager", "--cluster.listen-address=",
            f"--web.listen-address=127.0.0.1:{self.alertmanager_port}",
            ALERTMANAGER=program("prometheus-alertmanager", "alertmanager"),
            ALERT_PAGE_URL=f"{self.pager.url}/page",
            ALERT_TICKET_URL=f"{self.pager.url}/ticket",
            ALERT_HEARTBEAT_URL=f"{self.pager.url}/heartbeat",
        )  # fmt: skip
        self._start(
            "prometheus",
            program("prometheus"),
            f"--config.file={self.folder}/prometheus/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        )
        try:
            await_url(f"{self.url}/-/ready", self.folder / "prometheus.log")
            await_url(f"http://127.0.0.1:{self.alertmanager_port}/-/ready", self.folder / "alertmanager.log")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for started in self._started:
            started.terminate()
        for started in self._started:
            try:
                started.wait(10)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now; raises HTTPError (400) when it is none."""
        answer = self._get("query", query=expression)
        return list(answer["result"]) if answer["resultType"] != "scalar" else [{"value": answer["result"]}]

    def metric_names(self) -> set[str]:
        """Every name that was ever scraped here."""
        return set(self._get("label/__name__/values"))

    def rules(self) -> list[dict[str, Any]]:
        """The loaded rules with their health."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def send(self, *alerts: Mapping[str, str]) -> None:
        """Have Alertmanager told of alerts with these labels, as a Prometheus elsewhere would."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.alertmanager_port}/api/v2/alerts",
            data=json.dumps([{"labels": labels} for labels in alerts]).encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=20).close()  # noqa: S310

    def states(self, installation: str) -> dict[str, str]:
        """Alert name → active or suppressed (or unprocessed), of an installation, as Alertmanager sees it."""
        url = f"http://127.0.0.1:{self.alertmanager_port}/api/v2/alerts?filter=installation%3D{installation}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return {item["labels"]["alertname"]: item["status"]["state"] for item in json.load(answer)}

    def _get(self, path: str, **query: str) -> Any:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310
            return json.load(answer)["data"]

    def _start(self, name: str, *command: str, **environ: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as output:
            self._started.append(
                subprocess.Popen(
                    command,
                    cwd=self.folder,
                    env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **environ},
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )
