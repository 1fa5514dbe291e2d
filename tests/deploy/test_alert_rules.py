"""The alerts: each fires when it should, is sent to whom it should, and has its entry in the runbook."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.prometheus import DEPLOY, filled, program
from tests.journeys.processes import ROOT

RULES = sorted((DEPLOY / "prometheus/rules").glob("*.yml"))
TESTS = ROOT / "tests/deploy/rules"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: {**rule, "file": file.name}
    for file in RULES
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
}
SEVERITIES = {"page", "ticket", "none"}

needs_prometheus = pytest.mark.prometheus


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("promtool"), *map(str, words)], capture_output=True, text=True, check=False
    )


@needs_prometheus
def test_prometheus_accepts_the_configuration_and_the_rules(tmp_path: Path) -> None:
    checked = promtool("check", "config", "--syntax-only", DEPLOY / "prometheus/prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    checked = promtool("check", "rules", *RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_prometheus
@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_each_alert_fires_when_it_should_and_only_then(file: Path) -> None:
    tested = promtool("test", "rules", TESTS / file.name)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@needs_prometheus
@pytest.mark.parametrize("broken", ["never", "always"])
@pytest.mark.parametrize("alert", [name for name in ALERTS if name != "DeadMansSwitch"])
def test_an_alert_that_never_or_always_fires_would_be_noticed(
    alert: str, broken: str, tmp_path: Path
) -> None:
    name = ALERTS[alert]["file"]
    document = yaml.safe_load((DEPLOY / "prometheus/rules" / name).read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            if rule["alert"] == alert:
                rule["expr"] = "vector(1) < 0" if broken == "never" else "vector(1)"
    (tmp_path / name).write_text(yaml.safe_dump(document))
    test = yaml.safe_load((TESTS / name).read_text())
    test["rule_files"] = [str(tmp_path / name)]
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    assert promtool("test", "rules", tmp_path / "test.yml").returncode != 0


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in SEVERITIES
    assert {"summary", "description"} <= set(rule["annotations"])
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{alert.lower()}"


def test_the_runbook_has_an_entry_for_each_alert_and_no_other() -> None:
    text = (ROOT / "docs/runbook.md").read_text()
    entries = dict(zip(*[iter(re.split(r"^## (\w+)$", text, flags=re.MULTILINE)[1:])] * 2, strict=True))
    assert set(entries) == set(ALERTS)
    for name, entry in entries.items():
        for part in ("**Means**", "**Look**", "**Do**", "**Over**"):
            assert part in entry, f"{name} does not say: {part}"


@needs_prometheus
@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_sent_to_whom_its_severity_says(alert: str, tmp_path: Path) -> None:
    severity = ALERTS[alert]["labels"]["severity"]
    found = subprocess.run(
        [program("amtool"), "config", "routes", "test", f"--config.file={filled(tmp_path)}",
         f"alertname={alert}", f"severity={severity}", "installation=embudo"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == ("heartbeat" if severity == "none" else severity)


FULL = {
    "ALERT_PAGE_URL": "http://127.0.0.1:9/it's#me",
    "ALERT_PAGE_EMAIL": "night@example.com",
    "ALERT_TICKET_URL": "http://127.0.0.1:9/ticket",
    "ALERT_TICKET_EMAIL": "day@example.com",
    "ALERT_HEARTBEAT_URL": "http://127.0.0.1:9/alive",
    "ALERT_SMTP": "mail.example.com:587",
    "ALERT_SMTP_FROM": "alerts@example.com",
    "ALERT_SMTP_USER": "alerts",
    "ALERT_SMTP_PASSWORD": "it's #1 \\n & more",
}


@needs_prometheus
@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"ALERT_PAGE_URL": FULL["ALERT_PAGE_URL"]},
        FULL,
        {**FULL, "ALERT_SMTP_USER": "", "ALERT_SMTP_PASSWORD": ""},
    ],
    ids=["nothing", "a webhook", "everything", "mail without a password"],
)
def test_alertmanager_accepts_what_is_filled_in(environ: dict[str, str], tmp_path: Path) -> None:
    made = filled(tmp_path, **environ)
    checked = subprocess.run(
        [program("amtool"), "check-config", str(made)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert made.stat().st_mode & 0o077 == 0
    document = yaml.safe_load(made.read_text())
    urls = [hook["url"] for to in document["receivers"] for hook in to.get("webhook_configs", [])]
    assert urls == [environ[name] for name in FULL if name in environ and name.endswith("_URL")]
    for key, name in (
        ("smtp_auth_username", "ALERT_SMTP_USER"),
        ("smtp_auth_password", "ALERT_SMTP_PASSWORD"),
    ):
        assert document["global"].get(key, "") == environ.get(name, "")


@pytest.mark.parametrize(
    "environ",
    [
        {"ALERT_SMTP": "mail:587"},
        {**FULL, "ALERT_SMTP_PASSWORD": ""},
        {"ALERT_PAGE_URL": "http://a/@ALERT_SMTP@"},
    ],
)
def test_a_setting_that_is_missing_or_cannot_be_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        filled(tmp_path, **environ)
    assert "start.sh: ALERT_" in refused.value.stderr


@needs_prometheus
def test_prometheus_is_started_with_the_token_where_its_configuration_reads_it(tmp_path: Path) -> None:
    made = tmp_path / "metrics_token"
    started = start_script(
        made, "--version", METRICS_TOKEN="it's $HOME/t0ken", PROMETHEUS=program("prometheus")
    )
    assert started.returncode == 0 and "prometheus, version" in started.stdout
    assert made.read_text() == "it's $HOME/t0ken"
    assert made.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("environ", [{}, {"METRICS_TOKEN": ""}])
def test_prometheus_is_not_started_without_a_token(environ: dict[str, str], tmp_path: Path) -> None:
    refused = start_script(tmp_path / "metrics_token", PROMETHEUS="true", **environ)
    assert refused.returncode == 1
    assert "start.sh: METRICS_TOKEN is empty but needed" in refused.stderr


def start_script(*words: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(DEPLOY / "prometheus/start.sh"), *map(str, words)],
        env={"PATH": os.environ["PATH"], **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip
