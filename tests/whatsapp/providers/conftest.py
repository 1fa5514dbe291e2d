"""The real providers with their stand-ins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.whatsapp.providers.cases import CASES, Case, twilio_case


@pytest.fixture
def twilio() -> Iterator[Case]:
    """Twilio's adapter and its stand-in."""
    with twilio_case() as made:
        yield made


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """Each real provider in turn."""
    with request.param() as made:
        yield made
