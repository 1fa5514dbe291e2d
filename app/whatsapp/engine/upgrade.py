"""Flow documents outlive the code: each is brought to the newest schema before it is read."""

from __future__ import annotations

from typing import Any, Final

SCHEMA: Final = 1  # the newest; a change of meaning raises it and adds a function to UPGRADES
UPGRADES: Final[dict[int, Any]] = {}  # schema -> function(document) -> document of the next schema


def upgrade(document: Any) -> Any:
    """The document in the newest schema; the very same when it is current, unknown or no document at all.

    What cannot be upgraded is left to validate(), which names it among all other problems.
    """
    while isinstance(document, dict):
        schema = document.get("schema")
        if not isinstance(schema, int) or isinstance(schema, bool) or schema not in UPGRADES:
            break
        document = UPGRADES[schema](document)
    return document
