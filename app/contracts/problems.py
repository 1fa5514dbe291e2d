"""One shape for everything that can be wrong with an input.

Pure modules, commands and doors all report problems; they are shown by the API, by forms and on the nodes of the
flow designer. Were each to use its own shape, "all problems at once" would end at the first border.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MOST_SHOWN = 100
"""So many problems are told at once; nobody mends more than that before asking again."""


@dataclass(frozen=True)
class Problem:
    """Something wrong, where it is, and how to tell it.

    where: JSON pointer into the input (``/email``), or a flow's node id.
    code: stable machine-readable name (``unknown_node``).
    template: English sentence with ``%(name)s`` places; it is the msgid by which translations are found.
    params: the values for the places; JSON-plain.
    """

    where: str
    code: str
    template: str
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """The sentence in English."""
        return self.template % self.params if self.params else self.template


def problem(where: str, code: str, template: str, /, **params: Any) -> Problem:
    """Make a Problem; the template is a literal, so that the catalogue's extractor finds it."""
    return Problem(where, code, template, params)


def escaped(name: str) -> str:
    """A name as a step of a JSON pointer (RFC 6901 §3)."""
    return name.replace("~", "~0").replace("/", "~1")


def N_(text: str) -> str:  # noqa: N802  # gettext's customary name for "translate later"
    """Mark a text for the translators; who shows it translates it."""
    return text
