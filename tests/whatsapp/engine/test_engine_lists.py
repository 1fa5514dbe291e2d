"""What the engine knows, the designer offers: the same types, kinds and comparisons, no more and no fewer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from app.whatsapp.engine.advance import VISITS
from app.whatsapp.engine.branching import OPERATORS
from app.whatsapp.engine.definition import BUILDERS, Node
from app.whatsapp.engine.validate.nodes import KINDS

DESIGNER = Path(__file__).parents[3] / "frontend/src/designer/document.ts"


def offered(name: str) -> list[str]:
    [items] = re.findall(rf"export const {name} = \[(.*?)\] as const;", DESIGNER.read_text(), re.DOTALL)
    return re.findall(r'"(\w+)"', items)


@pytest.mark.parametrize(
    ("name", "known"), [("NODE_TYPES", BUILDERS), ("ASK_KINDS", KINDS), ("OPERATORS", OPERATORS)]
)
def test_the_designer_offers_what_the_engine_knows(name: str, known: object) -> None:
    assert sorted(offered(name)) == sorted(known)


def test_every_type_of_node_can_be_built_and_visited() -> None:
    assert set(VISITS) == set(get_args(Node))
    assert len(BUILDERS) == len(VISITS)
