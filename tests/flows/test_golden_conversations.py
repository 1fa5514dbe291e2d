"""Each folder in ``talks`` is a flow and a talk with its whole outcome: messages, effects, way, final state.

The state goes through JSON between any two turns, as it does in the database.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.whatsapp.engine import Reply, Step, Timeout, advance, blocking, compile_flow, start, validate

ROOT = Path(__file__).parents[2]
TALKS = sorted((Path(__file__).parent / "talks").glob("*/talk.json"))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def flow_of(talk_file: Path, talk: dict[str, Any]) -> dict[str, Any]:
    return read(ROOT / talk["flow"] if "flow" in talk else talk_file.with_name("flow.json"))


def told(step: Step) -> dict[str, Any]:
    effects = [{"effect": type(effect).__name__, **asdict(effect)} for effect in step.effects]
    return json.loads(json.dumps({"effects": effects, "trace": step.trace}))


def play(document: dict[str, Any], talk: dict[str, Any]) -> dict[str, Any]:
    """Run the talk; a turn is {"text"…} or {"timeout": turn}, after so many "minutes" (else 1)."""
    flow = compile_flow(document, name=talk.get("name", ""))
    now = datetime.fromisoformat(talk["now"])
    around = {"contact": talk["contact"], "channel": {"name": "Ventas"}}
    step = start(flow, variables=talk.get("variables", {}), message=talk.get("message"), now=now, **around)
    steps = [told(step)]
    for turn in talk["turns"] * talk.get("times", 1):
        said = {key: value for key, value in turn.items() if key != "minutes"}
        now += timedelta(minutes=turn.get("minutes", 1))
        reply = Timeout(turn=said["timeout"]) if "timeout" in said else Reply(**said)
        step = advance(flow, json.loads(json.dumps(step.state)), reply, now=now, **around)
        steps.append(told(step))
    shown = steps[-talk["show_last"] :] if "show_last" in talk else steps
    return {"steps": shown, "state": json.loads(json.dumps(step.state))}


@pytest.mark.parametrize("talk_file", TALKS, ids=lambda path: path.parent.name)
def test_the_conversation_goes_as_it_went_before(talk_file: Path, request: pytest.FixtureRequest) -> None:
    talk = read(talk_file)
    outcome = play(flow_of(talk_file, talk), talk)
    if request.config.getoption("--golden", default=False):
        written = json.dumps({**talk, "outcome": outcome}, ensure_ascii=False, indent=1) + "\n"
        talk_file.write_text(written, encoding="utf-8")
    assert outcome == read(talk_file).get("outcome")


@pytest.mark.parametrize("talk_file", TALKS, ids=lambda path: path.parent.name)
def test_the_flow_of_the_conversation_may_be_published(talk_file: Path) -> None:
    talk = read(talk_file)
    assert blocking(validate(flow_of(talk_file, talk))) == []


def test_the_demo_flows_are_without_any_finding() -> None:
    demos = sorted((ROOT / "app/whatsapp/demo").glob("*.json"))
    assert [demo.name for demo in demos] == ["welcome_en.json", "welcome_es.json"]
    for demo in demos:
        assert validate(read(demo)) == []


def test_there_are_conversations_to_compare() -> None:
    assert len(TALKS) >= 10
