"""Hide Liquid from tools that read HTML and MJML, and put it back. Pure.

MJML and the CSS inliner parse a document; Liquid inside it would be dropped, moved out of a table, or have its
quotes escaped. So every `{{ … }}` and `{% … %}` is replaced by a token that means nothing to them: a word where
text or an attribute value stands, an HTML comment where a `{% … %}` stands between elements (comments are the only
thing that parsers leave alone between table rows). The work is done once per template, not once per recipient.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from app.contracts.problems import Problem, problem

LIQUID = re.compile(
    r"\{%-?\s*(?P<block>raw|comment)\b.*?%\}.*?\{%-?\s*end(?P=block)\s*-?%\}|\{\{.*?\}\}|\{%.*?%\}", re.DOTALL
)
"""One piece of Liquid; what stands between raw/comment and its end is one piece too."""

_SCAN = re.compile(
    rf"(?P<liquid>{LIQUID.pattern})|(?P<comment><!--)|(?P<end_comment>-->)"
    r"|(?P<tag></?[a-zA-Z][\w:-]*)|(?P<quote>[\"'])|(?P<gt>/?>)",
    re.DOTALL,
)
_RAW_TEXT = frozenset({"style", "script", "title", "textarea", "mj-style", "mj-title", "mj-preview"})
"""Elements whose content is no markup: comments in them would be text."""

_LINK_ATTRIBUTE = re.compile(r"(?:^|\s)(?:href|src|background-url|background|action)\s*=\s*$", re.IGNORECASE)
"""Attributes whose value a mail program opens or loads."""

STRUCTURE_WITH_RAW = frozenset({"mj-body", "mj-wrapper", "mj-section", "mj-group", "mj-column", "mj-hero"})
"""MJML elements that hold elements only, and allow mj-raw between them."""

STRUCTURE = STRUCTURE_WITH_RAW | {
    "mjml", "mj-head", "mj-attributes", "mj-html-attributes", "mj-selector", "mj-accordion",
    "mj-accordion-element", "mj-carousel", "mj-navbar", "mj-social",
}  # fmt: skip
"""All MJML elements that hold elements only."""

MJML_ELEMENTS = STRUCTURE | {
    "mj-all", "mj-class", "mj-breakpoint", "mj-font", "mj-html-attribute", "mj-preview", "mj-style", "mj-title",
    "mj-accordion-title", "mj-accordion-text", "mj-button", "mj-carousel-image", "mj-divider", "mj-image",
    "mj-navbar-link", "mj-raw", "mj-social-element", "mj-spacer", "mj-table", "mj-text",
}  # fmt: skip
"""Every element of MJML 4 but mj-include, which would read files. Source: https://documentation.mjml.io"""


@dataclass
class Mask:
    """The pieces of Liquid that tokens stand for."""

    prefix: str
    pieces: list[str] = field(default_factory=list)

    def token(self, piece: str) -> str:
        """A new token for a piece: lower case, because HTML lowers what it takes for a name."""
        self.pieces.append(piece)
        return f"{self.prefix}{len(self.pieces) - 1}z"

    def token_in_comment(self, text: str) -> str | None:
        """The token, if the comment is nothing but one."""
        return text if re.fullmatch(rf"{self.prefix}\d+z", text) else None

    def restore(self, text: str, *, html: bool) -> str:
        """Put the pieces back.

        Braces that the tools made out of entities (`&#123;&#123;`) are made harmless first: they are text.
        """
        if html:
            text = text.replace("{{", "&#123;&#123;").replace("{%", "&#123;%")
        else:
            text = text.replace("{{", "{ {").replace("{%", "{ %")
        found = re.compile(rf"<!--{self.prefix}(\d+)z-->|{self.prefix}(\d+)z")
        return found.sub(lambda m: self.pieces[int(m[1] or m[2])], text)


@dataclass
class Masked:
    """A source without Liquid.

    links: the Liquid expressions at the start of an href or src, each with its line: values that decide where a
    link leads. problems: Liquid where no tool can keep it, and faulty MJML structure.
    """

    source: str
    mask: Mask
    links: list[tuple[str, int]]
    problems: list[Problem]


class _Scanner:
    def __init__(self, source: str, where: str, *, mjml: bool) -> None:
        self.source, self.where, self.mjml = source, where, mjml
        prefix = "lqd"
        while prefix in source.lower():
            prefix += "q"
        self.mask = Mask(prefix)
        self.out: list[str] = []
        self.links: list[tuple[str, int]] = []
        self.problems: list[Problem] = []
        self.state = "text"  # text | comment | tag | " | ' | raw
        self.tag = ""  # the tag being read, with its slash
        self.raw = ""  # the element of raw text that is open
        self.open: list[tuple[str, int]] = []  # MJML elements that are open, with their line

    def run(self) -> Masked:
        """Read the whole source."""
        position = 0
        for match in _SCAN.finditer(self.source):
            self.out.append(self.source[position : match.start()])
            position = match.end()
            kind = "liquid" if match["liquid"] else str(match.lastgroup)
            self.out.append(getattr(self, f"_{kind}")(match.group(), match.start()))
        self.out.append(self.source[position:])
        for name, line in self.open:
            self._unclosed(name, line)
        return Masked("".join(self.out), self.mask, self.links, self.problems)

    def _line(self, position: int) -> int:
        return self.source.count("\n", 0, position) + 1

    def _unclosed(self, name: str, line: int) -> None:
        self.problems.append(
            problem(
                self.where,
                "mjml_unclosed",
                "Line %(line)s: <%(element)s> is never closed.",
                line=line,
                element=name,
            )
        )

    def _liquid(self, piece: str, position: int) -> str:
        is_tag = piece.startswith("{%")
        if self.state == "tag":
            self.problems.append(
                problem(
                    self.where,
                    "liquid_in_tag",
                    "Line %(line)s: %(liquid)s stands inside an HTML tag; put it inside the quotes of an attribute.",
                    line=self._line(position),
                    liquid=piece[:60],
                )
            )
            return ""
        if self.state in "\"'" and not is_tag and _LINK_ATTRIBUTE.search(self._before_quote(position)):
            self.links.append((piece, self._line(position)))
        token = self.mask.token(piece)
        if self.state != "text":
            return token
        inside = self.open[-1][0] if self.open else ""
        if inside in STRUCTURE and (inside not in STRUCTURE_WITH_RAW or not is_tag):
            self.problems.append(
                problem(
                    self.where,
                    "liquid_between_elements",
                    "Line %(line)s: %(liquid)s cannot stand directly in <%(element)s>; put it inside mj-text or mj-raw.",
                    line=self._line(position),
                    liquid=piece[:60],
                    element=inside,
                )
            )
        if not is_tag:
            return token
        return f"<mj-raw><!--{token}--></mj-raw>" if inside in STRUCTURE_WITH_RAW else f"<!--{token}-->"

    def _before_quote(self, position: int) -> str:
        """What stands before the quote that opens the value, if Liquid is the value's first thing."""
        before = self.source[max(0, position - 80) : position].rstrip()
        return before[:-1] if before.endswith(("'", '"')) else ""

    def _comment(self, piece: str, _position: int) -> str:
        if self.state == "text":
            self.state = "comment"
        return piece

    def _end_comment(self, piece: str, _position: int) -> str:
        if self.state == "comment":
            self.state = "text"
        return piece

    def _tag(self, piece: str, position: int) -> str:
        name = piece.strip("</").lower()
        if self.state == "raw" and piece.startswith("</") and name == self.raw:
            self.state = "text"
        if self.state != "text":
            return piece
        self.state, self.tag = "tag", piece.lower()
        if self.mjml and name.startswith("mj"):
            self._mjml_tag(name, position)
        return piece

    def _mjml_tag(self, name: str, position: int) -> None:
        line = self._line(position)
        if name == "mj-include":
            self.problems.append(
                problem(
                    self.where,
                    "mjml_include",
                    "Line %(line)s: <mj-include> is not available; paste the part in.",
                    line=line,
                )
            )
        elif name not in MJML_ELEMENTS and not self.tag.startswith("</"):
            self.problems.append(
                problem(
                    self.where,
                    "mjml_unknown",
                    "Line %(line)s: MJML has no element <%(element)s>.",
                    line=line,
                    element=name,
                )
            )
        if not self.tag.startswith("</"):
            self.open.append((name, line))
            return
        if name not in (other for other, _ in self.open):
            self.problems.append(
                problem(
                    self.where,
                    "mjml_unopened",
                    "Line %(line)s: </%(element)s> closes nothing.",
                    line=line,
                    element=name,
                )
            )
            return
        while self.open:
            inner, inner_line = self.open.pop()
            if inner == name:
                return
            self._unclosed(inner, inner_line)

    def _quote(self, piece: str, _position: int) -> str:
        if self.state == "tag":
            self.state = piece
            return '"'  # MJML's parser passes on a value in single quotes without escaping what is in it
        if self.state == piece:
            self.state = "tag"
            return '"'
        return "&quot;" if self.state == "'" else piece

    def _gt(self, piece: str, _position: int) -> str:
        if self.state != "tag":
            return piece
        name = self.tag.strip("</")
        self.state = "text"
        if piece == "/>" and self.open and self.open[-1][0] == name and not self.tag.startswith("</"):
            self.open.pop()
        elif name in _RAW_TEXT and not self.tag.startswith("</"):
            self.state, self.raw = "raw", name
        return piece


def mask_liquid(source: str, where: str, *, mjml: bool) -> Masked:
    """Replace all Liquid of an HTML or MJML source by tokens; where: the field that problems are told of."""
    return _Scanner(source, where, mjml=mjml).run()
