"""Every operation answers as the served document says, whatever is sent: requests made from the document itself.

Bounded, and always the same ones, so that a failure here is a failure of the product and not of the day.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core import NOT_SET
from schemathesis.core.failures import FailureGroup
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from app.kit import db
from tests.doors.interface import doors

EXAMPLES = 6
"""Requests per operation and mode."""

ORDER = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""What deletes comes last, so that the others meet something that is there."""

ELSEWHERE = [
    positive_data_acceptance,  # a schema cannot say which telephone numbers exist, which cursor is ours …
    ignored_auth,  # tests/doors/test_who_may.py asks every operation
]

BOUNDED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def interface(app: Flask, api: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The document, asked for by a key that may everything and is never too fast."""
    monkeypatch.setitem(app.config, "API_BURST", 1e9)

    def fresh(environ: Any, start: Any) -> Any:
        with db.own_context():  # else the test's own context, and with it `g`, would be every request's
            return app(environ, start)

    made = schemathesis.openapi.from_wsgi("/openapi.json", fresh)
    made.config.update(headers={"Authorization": f"Bearer {api().key}"})
    return made


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_answers_as_documented(
    interface: Any, known_ids: dict[str, str], mode: GenerationMode
) -> None:
    wrong: dict[str, str] = {}
    operations = [result.ok() for result in interface.get_all_operations()]
    for operation in sorted(operations, key=lambda item: ORDER.index(item.method.upper())):
        if mode is GenerationMode.NEGATIVE and not (operation.body.items or operation.query.items):
            continue  # nothing that could be wrong
        _ask(operation, mode, known_ids, wrong)
    assert wrong == {}, "\n\n".join(wrong.values())


REFUSED_HERE = {
    "POST /leads/{lead_id}/restore": 404,  # it was never deleted
    "POST /webhooks": 422,  # there is no DNS here that knows example.com
    "PUT /leads/{lead_id}": 409,  # POST /leads has made another lead of the same example
    "DELETE /flows/{flow_id}": 409,  # it is the channel's default flow
}
"""Operations whose example is refused because of what there is, and isn't, in a test."""


def test_every_documented_example_is_answered_with_what_it_is_for(
    app: Flask, maker: Any, known_ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "API_BURST", 1e9)
    answers = {}
    for door in sorted(doors(app), key=lambda item: ORDER.index(item.method)):
        answer = maker.open(
            door.at(known_ids), method=door.method, json=door.example, headers={"If-Match": "*"}
        )
        answers[str(door)] = answer.status_code, answer.text[:300]
    refused = {name: answer for name, answer in answers.items() if answer[0] >= 300}
    refused = {name: answer for name, answer in refused.items() if REFUSED_HERE.get(name) != answer[0]}
    assert refused == {}


def _ask(operation: Any, mode: GenerationMode, known_ids: dict[str, str], wrong: dict[str, str]) -> None:
    @given(case=operation.as_strategy(generation_mode=mode), there=st.booleans())
    @BOUNDED
    def ask(case: Any, there: bool) -> None:
        if there and _is_right(case, ParameterLocation.PATH):
            for name in case.path_parameters or {}:
                case.path_parameters[name] = known_ids.get(name, case.path_parameters[name])
            if case.headers and "If-Match" in case.headers:
                case.headers["If-Match"] = "*"
        try:
            case.call_and_validate(excluded_checks=ELSEWHERE)
        except FailureGroup as failures:
            for failure in failures.exceptions:
                key = f"{operation.label}: {type(failure).__name__}"
                body = "" if case.body is NOT_SET else repr(case.body)[:300]
                wrong.setdefault(key, f"{key} {failure}\n{case.formatted_path} {case.query} {body}")

    try:
        ask()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, f"{operation.label}: the document describes no request"


def _is_right(case: Any, location: ParameterLocation) -> bool:
    part = case.meta.components.get(location) if case.meta else None
    return part is None or part.mode.is_positive
