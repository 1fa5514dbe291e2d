"""What a lead and an Airtable record have to do with each other, as pure functions.

Two people edit the same lead in two places, and our own writes come back as news. Whoever decides field by field,
against what both sides last agreed on, loses no edit and never answers an echo; whoever compares whole records does
both. PURE: no Flask, no database, no network.
"""

from app.leads.mapping.cells import from_airtable, to_airtable
from app.leads.mapping.columns import (
    DIRECTIONS,
    LEAD_FIELDS,
    Column,
    Mapped,
    fits,
    is_read_only,
    is_usable,
    kind_of,
    settable,
)
from app.leads.mapping.merge import POLICIES, Clash, MergeResult, Policy, differs, merge
from app.leads.mapping.proposal import choices_for, propose
from app.leads.mapping.routing import CONDITIONS, OPERATORS, Condition, Rule, is_unary, problems_of, route

__all__ = [
    "CONDITIONS",
    "DIRECTIONS",
    "LEAD_FIELDS",
    "OPERATORS",
    "POLICIES",
    "Clash",
    "Column",
    "Condition",
    "Mapped",
    "MergeResult",
    "Policy",
    "Rule",
    "choices_for",
    "differs",
    "fits",
    "from_airtable",
    "is_read_only",
    "is_unary",
    "is_usable",
    "kind_of",
    "merge",
    "problems_of",
    "propose",
    "route",
    "settable",
    "to_airtable",
]
