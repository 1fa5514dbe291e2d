"""Dashboards and log shippers: what can be known about them without Grafana, Loki and Elasticsearch."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from flask import Flask

from app.kit import telemetry
from tests.fakes.prometheus import DEPLOY

DASHBOARDS = {
    file.name: json.loads(file.read_text()) for file in sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
}
SOURCES = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/embudo.yaml").read_text())["datasources"]
ALLOY = (DEPLOY / "loki/config.alloy").read_text()
SHAPES = {
    ".yml": yaml.safe_load,
    ".yaml": yaml.safe_load,
    ".json": json.loads,
}


def panels(name: str) -> Iterator[dict[str, Any]]:
    yield from DASHBOARDS[name]["panels"]


def test_every_file_can_be_read() -> None:
    read = [
        SHAPES[file.suffix](file.read_text())
        for folder in ("grafana", "loki", "elk", "prometheus")
        for file in (DEPLOY / folder).rglob("*")
        if file.suffix in SHAPES
    ]
    assert len(read) > 10
    assert all(read)


def test_dashboards_keep_their_addresses() -> None:
    assert {name: board["uid"] for name, board in DASHBOARDS.items()} == {
        "overview.json": "embudo-overview",
        "work.json": "embudo-work",
        "providers.json": "embudo-providers",
        "funnel.json": "embudo-funnel",
    }


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_complete(name: str) -> None:
    known = {source["uid"] for source in SOURCES}
    assert len({panel["id"] for panel in panels(name)}) == len(DASHBOARDS[name]["panels"])
    for panel in panels(name):
        assert panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] in ("row", "text"):
            continue
        assert panel["datasource"]["uid"] in known
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["datasource"]["uid"] in known and target["expr"] for target in panel["targets"])
        if panel["type"] == "stat" and "thresholds" in panel["fieldConfig"]["defaults"]:
            assert panel["links"], "what is coloured says where to read on"
    assert any(panel["type"] == "text" and "runbook" in panel["options"]["content"] for panel in panels(name))
    assert DASHBOARDS[name]["annotations"]["list"][0]["expr"].startswith("ALERTS")


def test_no_two_panels_lie_on_each_other() -> None:
    for name in DASHBOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in panels(name):
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, f"{name}: {panel['title']}"
            taken |= cells


@pytest.fixture
def lines(app: Flask, capsys: pytest.CaptureFixture[str]) -> Iterator[list[dict[str, Any]]]:
    """What a request and a failure really log, as JSON."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    telemetry.configure_logging("INFO", as_json=True)
    capsys.readouterr()
    try:
        app.test_client().get("/leads")
        try:
            raise ValueError("broken")
        except ValueError:
            telemetry.get_logger("leads").exception("job failed", job="leads.push_airtable")
        yield [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def test_the_log_shippers_ask_for_fields_that_our_lines_have(lines: list[dict[str, Any]]) -> None:
    said = {field for line in lines for field in line}
    ours = re.findall(r"stage\.json \{\s*expressions = \{([^}]*)\}", ALLOY)[1]
    assert set(re.findall(r'= "(\w+)"', ours)) <= said
    filebeat = yaml.safe_load((DEPLOY / "elk/filebeat.yml").read_text())
    (rename,) = [
        step["rename"]["fields"] for step in filebeat["filebeat.inputs"][0]["processors"] if "rename" in step
    ]
    assert {field["from"].removeprefix("embudo.") for field in rename} <= said
    assert "timestamp" in said


def test_loki_gets_few_labels_and_the_request_id_is_none_of_them() -> None:
    (kept,) = re.findall(r"stage\.label_keep \{\s*values = \[([^\]]*)\]", ALLOY)
    assert set(re.findall(r'"(\w+)"', kept)) == {"app", "env", "level", "process"}
    (metadata,) = re.findall(r"stage\.structured_metadata \{\s*values = \{([^}]*)\}", ALLOY)
    assert "request_id" in metadata
    assert ALLOY.count("{") == ALLOY.count("}")


def test_elasticsearch_knows_the_fields_that_filebeat_names() -> None:
    template = json.loads((DEPLOY / "elk/template.json").read_text())["template"]

    def names(properties: dict[str, Any], before: str = "") -> Iterator[str]:
        for name, field in properties.items():
            if "properties" in field:
                yield from names(field["properties"], f"{before}{name}.")
            else:
                yield before + name

    known = set(names(template["mappings"]["properties"]))
    filebeat = yaml.safe_load((DEPLOY / "elk/filebeat.yml").read_text())
    renamed = {
        field["to"]
        for step in filebeat["filebeat.inputs"][0]["processors"]
        if "rename" in step
        for field in step["rename"]["fields"]
    }
    assert renamed <= known
