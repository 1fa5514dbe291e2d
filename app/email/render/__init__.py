"""Templates become mails. Pure: the same functions serve the editor's preview, the checks and the queue.

The costly steps (MJML, CSS inlining, the text part) run once per template on a source whose Liquid is hidden
(masking.py); what is left per recipient is filling in Liquid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from app.contracts.problems import Problem, problem
from app.email.render.lines import tidy
from app.email.render.masking import LIQUID, Masked, mask_liquid
from app.email.render.values import Variable, bind, check_variables, samples
from app.kit import text as liquid
from app.kit.text import LiquidProblem

FORMATS = ("html", "mjml")
"""How a body may be written."""

SOURCE_BYTES = 100_000
"""Largest body or text, UTF-8 bytes: what the template language takes (Gmail clips a mail at 102 KB anyway)."""

SUBJECT_CHARS = 500
"""Longest subject, as written and as rendered (a rendered one is cut)."""

COMPILED_TEMPLATES = 256
"""Compiled templates that a process keeps."""

_POSITION = re.compile(r" at position (\d+):(\d+)")
_DOCUMENT = re.compile(r"<(?:html|body|!doctype)\b", re.IGNORECASE)
_FRAME = (
    '<!DOCTYPE html><html lang="%(language)s"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"></head><body>%(body)s</body></html>'
)
_LIMITS = {
    found.code: found.template
    for found in (
        problem("", "too many repetitions", "It cannot be filled in: its loops repeat too often."),
        problem("", "too much text", "It cannot be filled in: too much text comes of it."),
        problem("", "output stream limit reached", "It cannot be filled in: too much text comes of it."),
        problem("", "local namespace limit reached", "It cannot be filled in: too much text comes of it."),
    )
}
"""What the template language says at our limits (other reasons are its library's words) → our sentence."""

_UNESCAPED = re.compile(r"\|\s*safe\b")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A template as a person wrote it.

    format: one of FORMATS. text: the text part if they wrote one, else it is made from the body.
    language: of the readers (``es``); it is written into the HTML for screen readers.
    """

    subject: str
    body: str
    format: str = "html"
    text: str = ""
    variables: tuple[Variable, ...] = ()
    language: str = "en"


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A mail's parts, ready to be sent."""

    subject: str
    html: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A template of which only the values are missing."""

    subject: liquid.Template
    html: liquid.Template
    text: liquid.Template

    def render(
        self, values: Mapping[str, Any], *, strict: bool = True, now: datetime | None = None
    ) -> Rendered:
        """The mail for these values (from `bind`). Raises LiquidProblem at the language's limits.

        strict: refuse what a value does not have, instead of leaving it blank. now: aware, in the zone whose day
        `{{ "today" | date: … }}` means; UTC's when not given.
        """
        if now is not None:
            values = {"now": now, **values}
        return Rendered(
            subject=one_line(self.subject.render(values, strict=strict)),
            html=self.html.render(values, strict=strict),
            text=tidy(self.text.render(values, strict=strict)),
        )


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A mail with sample values, as far as it can be made, and everything that is wrong with the template."""

    rendered: Rendered | None
    problems: list[Problem]


class Faulty(ValueError):
    """The template cannot be compiled; problems says why."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("; ".join(found.message for found in problems))


def one_line(subject: str) -> str:
    """A subject without line breaks and control characters, at most SUBJECT_CHARS long."""
    line = " ".join("".join(char if char.isprintable() else " " for char in subject).split())
    return line if len(line) <= SUBJECT_CHARS else line[: SUBJECT_CHARS - 1] + "…"


def is_warning(found: Problem) -> bool:
    """Whether the problem is advice only: the template can be saved and sent."""
    return found.code.startswith("warning_")


def text_from_html(html: str) -> str:
    """The text part for HTML that holds no Liquid; empty when there is nothing to read."""
    from app.email.render.plain import text_of

    masked = mask_liquid("", "", mjml=False)
    return text_of(html, masked.mask).strip() if html.strip() else ""


def compile_source(source: Source) -> Compiled:
    """Make a template ready for rendering; the latest ones are kept. Raises Faulty."""
    return _compile(source.subject, source.body, source.format, source.text, source.language)


@lru_cache(maxsize=COMPILED_TEMPLATES)
def _compile(subject: str, body: str, format_: str, text: str, language: str) -> Compiled:
    problems: list[Problem] = []
    _check_size(body, "/body", problems)
    _check_size(text, "/text", problems)
    if problems:
        raise Faulty(problems)
    found_subject = _liquid(subject, "/subject", problems)
    _liquid(body, "/body", problems)  # for its line numbers: the compiled HTML has others
    masked = mask_liquid(body, "/body", mjml=format_ == "mjml")
    problems += masked.problems
    html = _to_html(masked, format_, language, problems)
    if html is None or problems:
        raise Faulty(problems)
    text_source = text if text.strip() else masked.mask.restore(_to_text(html, masked, problems), html=False)
    compiled_html = _liquid(masked.mask.restore(html, html=True), "/body", problems, autoescape=True)
    compiled_text = _liquid(text_source, "/text", problems)
    if problems or found_subject is None or compiled_html is None or compiled_text is None:
        raise Faulty(problems)
    return Compiled(subject=found_subject, html=compiled_html, text=compiled_text)


def _liquid(
    source: str, where: str, problems: list[Problem], *, autoescape: bool = False
) -> liquid.Template | None:
    try:
        return liquid.compile(source, autoescape=autoescape)
    except LiquidProblem as error:
        problems.append(_liquid_problem(error, where))
        return None


def _liquid_problem(error: LiquidProblem, where: str) -> Problem:
    if error.line is None:
        return problem(where, "liquid", "It cannot be read: “%(reason)s”", reason=error.message)
    return problem(where, "liquid", "Line %(line)s: “%(reason)s”", line=error.line, reason=error.message)


def _to_html(masked: Masked, format_: str, language: str, problems: list[Problem]) -> str | None:
    # As in _to_text: megabytes that only a process which compiles templates needs, and the relay never.
    import css_inline
    import mrml

    html = masked.source
    if format_ == "mjml":
        # No web fonts: opening a mail must not tell a font server.
        options = mrml.RenderOptions(fonts={})
        try:
            html = mrml.to_html(masked.source, None, options).content
        except OSError as error:  # mrml's only exception
            if not masked.problems:  # they say the same, with a line
                problems.append(_mjml_problem(str(error), masked.source))
            return None
        html = html.replace('lang="und"', f'lang="{language}"')
    elif not _DOCUMENT.search(html):
        html = _FRAME % {"language": language, "body": html}
    try:
        return css_inline.CSSInliner(load_remote_stylesheets=False, keep_at_rules=True).inline(html)
    except ValueError as error:  # css_inline.InlineError is one
        problems.append(problem("/body", "css", "The styles cannot be read: “%(reason)s”", reason=str(error)))
        return None


def _mjml_problem(reason: str, source: str) -> Problem:
    position = _POSITION.search(reason)
    reason = _POSITION.sub("", reason)
    if position is None:
        return problem("/body", "mjml", "The MJML cannot be read: “%(reason)s”", reason=reason)
    line = source.encode()[: int(position[1])].count(b"\n") + 1
    return problem(
        "/body", "mjml", "Line %(line)s: the MJML cannot be read: “%(reason)s”", line=line, reason=reason
    )


def _to_text(html: str, masked: Masked, problems: list[Problem]) -> str:
    from app.email.render.plain import text_of

    try:
        return text_of(html, masked.mask)
    except (ValueError, RecursionError) as error:
        problems.append(
            problem(
                "/body",
                "text",
                "No text part can be made of this HTML (%(reason)s); write one.",
                reason=type(error).__name__,
            )
        )
        return ""


def check(source: Source) -> list[Problem]:
    """Everything that is wrong with a template, at once; codes that begin with ``warning_`` are advice."""
    problems = [*_check_sizes(source), *check_variables(source.variables)]
    compiled = None
    try:
        compiled = compile_source(source)
    except Faulty as faulty:
        problems += faulty.problems
    problems += _check_use(source)
    if compiled is not None and not any(not is_warning(found) for found in problems):
        problems += _try_out(compiled, source)
    return problems


def _check_sizes(source: Source) -> list[Problem]:
    problems: list[Problem] = []
    if source.format not in FORMATS:
        problems.append(
            problem(
                "/format",
                "unknown_format",
                "The format must be one of: %(formats)s.",
                formats=", ".join(FORMATS),
            )
        )
    if not source.subject.strip():
        problems.append(problem("/subject", "missing", "A subject is needed."))
    if len(source.subject) > SUBJECT_CHARS:
        problems.append(
            problem(
                "/subject",
                "too_long",
                "The subject is longer than %(limit)s characters.",
                limit=SUBJECT_CHARS,
            )
        )
    if not source.body.strip():
        problems.append(problem("/body", "missing", "A body is needed."))
    return problems


def _check_size(part: str, where: str, problems: list[Problem]) -> None:
    if len(part.encode("utf-8", "replace")) > SOURCE_BYTES:
        problems.append(
            problem(where, "too_long", "This is longer than %(limit)s bytes.", limit=SOURCE_BYTES)
        )


def _check_use(source: Source) -> list[Problem]:
    """Compare what the texts use with what is declared."""
    declared = {variable.name: variable for variable in source.variables}
    used: set[str] = set()
    problems: list[Problem] = []
    for where, part in (("/subject", source.subject), ("/body", source.body), ("/text", source.text)):
        try:
            names = {path.split(".")[0] for path in liquid.variables(part)}
        except LiquidProblem:  # told by the compiler
            used |= set(declared)
            continue
        used |= names
        problems += [
            problem(
                where,
                "undeclared",
                "Line %(line)s: “%(name)s” is not among the template's variables.",
                name=name,
                line=_line_of(name, part),
            )
            for name in sorted(names - set(declared))
        ]
        if _UNESCAPED.search(part):
            problems.append(
                problem(
                    where, "warning_unescaped", "The filter “safe” lets strangers write HTML into the mail."
                )
            )
    problems += [
        problem(
            f"/variables/{index}",
            "warning_unused",
            "“%(name)s” is declared but not used.",
            name=variable.name,
        )
        for index, variable in enumerate(source.variables)
        if variable.name not in used
    ]
    for piece, line in mask_liquid(source.body, "/body", mjml=source.format == "mjml").links:
        name = piece.strip("{}-% ").split("|")[0].split(".")[0].strip()
        if name in declared and declared[name].type != "url":
            problems.append(
                problem(
                    "/body",
                    "link_not_url",
                    "Line %(line)s: “%(name)s” decides where a link leads; declare it as url.",
                    line=line,
                    name=name,
                )
            )
    return problems


def _line_of(name: str, source: str) -> int:
    for piece in LIQUID.finditer(source):
        found = re.search(rf"\b{re.escape(name)}\b", piece.group())
        if found:
            return source.count("\n", 0, piece.start() + found.start()) + 1
    return 1


def _try_out(compiled: Compiled, source: Source) -> list[Problem]:
    try:
        rendered = compiled.render(samples(source.variables))
    except LiquidProblem as error:
        return [unfillable(error, "/body")]
    if not rendered.subject:
        return [problem("/subject", "missing", "The subject is empty when it is filled in.")]
    if not rendered.text.strip():
        return [problem("/body", "missing", "Nothing is left to read when it is filled in.")]
    return []


def unfillable(error: LiquidProblem, where: str) -> Problem:
    """Why a template cannot be filled in, as a person is told it."""
    if sentence := _LIMITS.get(error.message):
        return Problem(where, "render", sentence)
    return problem(where, "render", "It cannot be filled in: “%(reason)s”", reason=error.message)


def preview(
    source: Source, given: Mapping[str, Any] | None = None, *, now: datetime | None = None
) -> Preview:
    """Render with the given values, and samples where there are none. now: as for Compiled.render."""
    problems = check(source)
    values, value_problems = bind(
        source.variables, {**samples(source.variables), **(given or {})}, "/variables"
    )
    problems += value_problems
    try:
        rendered = compile_source(source).render(values, strict=False, now=now)
    except (Faulty, LiquidProblem):
        rendered = None
    return Preview(rendered=rendered, problems=problems)


__all__ = [
    "FORMATS",
    "SOURCE_BYTES",
    "SUBJECT_CHARS",
    "Compiled",
    "Faulty",
    "Preview",
    "Rendered",
    "Source",
    "Variable",
    "bind",
    "check",
    "compile_source",
    "is_warning",
    "one_line",
    "preview",
    "samples",
    "text_from_html",
    "unfillable",
]
