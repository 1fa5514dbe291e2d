"""One template language for everything that is written to people: Liquid, with limits.

Flows and e-mails are written by sales people and filled with what strangers typed. Both must be harmless: a
template reads plain data only (dict, list, str, numbers), reaches no file, and stops, with a LiquidProblem,
before it takes seconds or memory. python-liquid's own limits leave gaps, closed here: loops that follow one
another are not added up, a chain of filters may grow a string without end, and one error in a text loses the
whole text.

Pure: no clock unless the data has no ``now``, no network, no framework.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from liquid import BoundTemplate, Environment, RenderContext
from liquid.ast import Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.output import OutputNode
from liquid.exceptions import (
    FilterError,
    LiquidError,
    LiquidInterrupt,
    LoopIterationLimitError,
    OutputStreamLimitError,
    ResourceLimitError,
)
from liquid.output import LimitedStringIO
from liquid.undefined import UNDEFINED, FalsyStrictUndefined, Undefined

MAX_SOURCE_BYTES: Final = 100_000  # a long newsletter has 60 KB; parsing is linear, but nobody types more
MAX_OUTPUT_BYTES: Final = 1_000_000  # Gmail clips at 102 KB, Meta refuses texts over 4 KB: more is a mistake
MAX_LOOP_ITERATIONS: Final = 10_000  # all loops of one rendering added up, not only nested ones
MAX_LOOP_WORK: Final = 10_000_000  # iterations x characters of markup: about a second in the worst case
MAX_FILTER_WORK: Final = (
    20_000_000  # characters that filters read and wrote: about a second in the worst case
)
MAX_LOCAL_BYTES: Final = 2_000_000  # what assign and capture may hold
CACHED_TEMPLATES: Final = 512  # flows and e-mails keep their own templates; this serves previews and checks
FORBIDDEN_TAGS: Final = ("include", "render")  # they load other templates; ours live in the database
SPECIAL_SEGMENTS: Final = frozenset(
    {"size", "first", "last"}
)  # Liquid computes these unless the data has them
MAX_PLAIN_INT: Final = 10**15  # larger ones are printed by python-liquid, which knows the limits
RENDER_FAULTS: Final = (ArithmeticError, ValueError, TypeError, LookupError, AttributeError, RuntimeError)

MAX_BLANKS: Final = 200  # in a row inside markup: python-liquid's lexer takes their square in steps
MAX_PARENTHESES: Final = 100  # in one markup: each makes the expression's lexer look through all of the rest
OPENING: Final = re.compile(r"\{\{|\{%-?\s*(raw|doc)\b|\{%")
CLOSING: Final = {"raw": re.compile(r"\{%-?\s*endraw\s*-?%\}"), "doc": re.compile(r"\{%-?\s*enddoc\s*-?%\}")}
BLANKS: Final = re.compile(rf"\s{{{MAX_BLANKS}}}")


class LiquidProblem(Exception):
    """A template that cannot be parsed or rendered. message: an English sentence; line: 1-based, None if
    unknown."""

    def __init__(self, message: str, line: int | None = None) -> None:
        self.message = message
        self.line = line
        super().__init__(message if line is None else f"line {line}: {message}")


class _Context(RenderContext):
    """Counts the work of one rendering and remembers which names were unknown."""

    __slots__ = ("filter_work", "iterations", "unknown", "weight")

    def __init__(
        self, template: BoundTemplate, data: Mapping[str, object], weight: int, unknown: list[str]
    ) -> None:
        super().__init__(template, globals=data)
        self.weight = weight
        self.unknown = unknown
        self.iterations = 0
        self.filter_work = 0

    def get(self, path: list[object], *, token: Any, default: object = UNDEFINED) -> object:
        value = super().get(path, token=token, default=default)
        if isinstance(value, Undefined):
            self.unknown.append(".".join(str(segment) for segment in path))
        return value

    def raise_for_loop_limit(self, length: int = 1) -> None:
        self.iterations += length
        if self.iterations > MAX_LOOP_ITERATIONS or self.iterations * self.weight > MAX_LOOP_WORK:
            raise LoopIterationLimitError("too many repetitions", token=None)

    def charge(self, characters: int) -> None:
        self.filter_work += characters
        if self.filter_work > MAX_FILTER_WORK or characters > 2 * MAX_OUTPUT_BYTES:
            raise OutputStreamLimitError("too much text", token=None)


class _Environment(Environment):
    loop_iteration_limit = MAX_LOOP_ITERATIONS
    output_stream_limit = MAX_OUTPUT_BYTES
    local_namespace_limit = MAX_LOCAL_BYTES
    context_depth_limit = 20

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        for tag in FORBIDDEN_TAGS:
            self.tags.pop(tag, None)
        self.add_filter("to_json", _to_json)
        self.add_filter("json", _to_json)
        self.filters = {name: _guarded(name, function) for name, function in self.filters.items()}


def _to_json(value: object) -> str:
    """Twilio Studio's name for it; unknown is null."""
    return json.dumps(None if isinstance(value, Undefined) else value, ensure_ascii=False, default=str)


def _size(value: object) -> int:
    """Roughly how many characters working through the value means."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, (list, tuple)):
        return sum(len(item) if isinstance(item, (str, list, dict)) else 8 for item in value) + 8 * len(value)
    if isinstance(value, range):
        return max(0, (value.stop - value.start) // value.step)
    if isinstance(value, int):
        return value.bit_length() // 3
    return 8


def _growth(name: str, left: object, args: tuple[object, ...]) -> int:
    """Characters that these filters are about to write, known before they are written."""
    if name == "replace" and args:
        text, old, new = str(left), str(args[0]), str(args[1]) if len(args) > 1 else ""
        return (text.count(old) if old else len(text) + 1) * len(new)
    if name == "join" and isinstance(left, (list, tuple, range)):
        return len(left) * (len(str(args[0])) if args else 1)
    return 0


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, paying for its work, failing only in ways that a rendering expects."""
    wants_context = getattr(function, "with_context", False)
    wants_environment = getattr(function, "with_environment", False)

    def guarded(left: object, *args: object, context: _Context, **options: Any) -> object:
        context.charge(32 + _size(left) + sum(map(_size, args)))
        if args or name == "join":
            context.charge(_growth(name, left, args))
        if name == "date" and left in ("now", "today"):
            left = context.resolve("now", default=None) or datetime.now(UTC)
        if wants_context:
            options["context"] = context
        if wants_environment:
            options["environment"] = context.env
        try:
            result = function(left, *args, **options)
        except LiquidError:
            raise
        except RENDER_FAULTS as fault:
            raise FilterError(f"{name}: {fault}", token=None) from fault
        context.charge(_size(result))
        return result

    guarded.with_context = True  # type: ignore[attr-defined]
    return guarded


# Both share the parsed nodes; the environment decides at render time what unknown means.
# FalsyStrictUndefined: printing an unknown name is an error, asking whether it is there (if, default) is not.
_LENIENT = {html: _Environment(autoescape=html) for html in (False, True)}
_STRICT = {html: _Environment(autoescape=html, undefined=FalsyStrictUndefined) for html in (False, True)}


class Template:
    """A parsed template; immutable, may be shared by threads."""

    __slots__ = ("_lenient", "_static", "_steps", "_strict", "_weight", "source", "variables")

    def __init__(self, source: str, *, autoescape: bool = False) -> None:
        self.source = source
        self._static = "{{" not in source and "{%" not in source
        self.variables: frozenset[str] = frozenset()
        if len(source) > MAX_SOURCE_BYTES or len(source.encode("utf-8", "replace")) > MAX_SOURCE_BYTES:
            raise LiquidProblem(f"the text is longer than {MAX_SOURCE_BYTES} bytes")
        if self._static:
            return
        self._weight = _measure(source)
        environment = _LENIENT[autoescape]
        try:
            self._lenient = environment.from_string(source)
            analysis = self._lenient.analyze(include_partials=False)
        except LiquidError as error:
            raise _problem(error) from error
        except RENDER_FAULTS as fault:  # also RecursionError, in deeply nested expressions
            raise LiquidProblem(f"cannot be read ({type(fault).__name__})") from fault
        for name, spans in analysis.filters.items():
            if name not in environment.filters:
                raise LiquidProblem(f"unknown filter '{name}'", spans[0].line_col(source)[0])
        self._strict = BoundTemplate(_STRICT[autoescape], self._lenient.nodes)
        plain = not autoescape and not analysis.locals
        self._steps = tuple(_step(node, plain) for node in self._lenient.nodes)
        self.variables = frozenset(
            _dotted(variable.segments) for found in analysis.globals.values() for variable in found
        )

    def render(self, data: Mapping[str, Any], strict: bool = False, unknown: list[str] | None = None) -> str:
        """Fill the template from plain data.

        strict: an unknown variable, or a filter that cannot do its work, raises LiquidProblem. Otherwise it
        becomes nothing and its name is appended to ``unknown``: a running conversation says the rest.
        Raises LiquidProblem, in both cases, when a limit is reached.
        """
        if self._static:
            return self.source
        context: _Context | None = None
        pieces: list[str] = []
        for node, fixed, path in self._steps:
            if fixed is not None:
                pieces.append(fixed)
                continue
            quick = None if path is None else _look_up(path, data)
            if quick is None:
                if context is None:
                    template = self._strict if strict else self._lenient
                    context = _Context(template, data, self._weight, [] if unknown is None else unknown)
                quick = self._run(node, context, strict)
                if quick is None:
                    break
            pieces.append(quick)
        text = "".join(pieces)
        if len(text) > MAX_OUTPUT_BYTES // 4 and len(text.encode("utf-8", "replace")) > MAX_OUTPUT_BYTES:
            raise LiquidProblem("output stream limit reached")
        return text

    def _run(self, node: Node, context: _Context, strict: bool) -> str | None:
        """What python-liquid makes of one node; None when the text ends here."""
        out = LimitedStringIO(limit=MAX_OUTPUT_BYTES)
        try:
            node.render(context, out)
        except ResourceLimitError as error:
            raise _problem(error, node) from error
        except LiquidInterrupt:  # break or continue outside of a loop ends the text, as in Ruby's Liquid
            return None
        except LiquidError as error:
            problem = _problem(error, node)
            if strict:
                raise problem from error
            context.unknown.append(problem.message)
        except RENDER_FAULTS as fault:
            problem = LiquidProblem(f"cannot be computed ({type(fault).__name__})", _line(node.token))
            if strict:
                raise problem from fault
            context.unknown.append(problem.message)
        return out.getvalue()


def compile(source: str, *, autoescape: bool = False) -> Template:  # noqa: A001 - text.compile, as re.compile
    """Parse a template; the latest are kept. autoescape: escape values for HTML. Raises LiquidProblem."""
    return _compile(source, autoescape)


def variables(source: str) -> set[str]:
    """Dotted paths that the template reads from its data: ``{"vars.name"}``; not what it assigns itself.

    A path ends where it is computed (``items[0].name`` is ``items``). Raises LiquidProblem.
    """
    return set(compile(source).variables)


@lru_cache(maxsize=CACHED_TEMPLATES)
def _compile(source: str, autoescape: bool) -> Template:
    return Template(source, autoescape=autoescape)


def _measure(source: str) -> int:
    """Characters of markup, after refusing in linear time what python-liquid's lexer reads in quadratic time.

    That is markup that never closes (100 KB of braces took minutes) and long white space inside it.
    """
    position = weight = 0
    while opening := OPENING.search(source, position):
        start, kind = opening.start(), opening.group(1)
        end = source.find("}}" if source[start + 1] == "{" else "%}", start + 2)
        if end < 0:
            raise LiquidProblem(f"'{source[start : start + 2]}' is never closed", _line_at(source, start))
        if BLANKS.search(source, start, end):
            raise LiquidProblem("too much white space", _line_at(source, start))
        if source.count("(", start, end) > MAX_PARENTHESES:
            raise LiquidProblem("too many parentheses", _line_at(source, start))
        weight += end - start
        position = end + 2
        if kind:
            closing = CLOSING[kind].search(source, position)
            if closing is None:
                raise LiquidProblem(f"'{kind}' is never closed", _line_at(source, start))
            position = closing.end()
    return weight


def _line_at(source: str, index: int) -> int:
    return source.count("\n", 0, index) + 1


def _step(node: Node, plain: bool) -> tuple[Node, str | None, tuple[str, ...] | None]:
    """A node with its fixed text, or with the path that it prints: both are done without python-liquid.

    That makes the usual text, words and a few names, ten times as fast. plain: values may be printed as they
    are (no HTML escaping) and the template itself sets no names that could hide the data's.
    """
    if type(node) is ContentNode:
        return node, node.text, None
    expression = node.expression if plain and type(node) is OutputNode else None
    if type(expression) is not FilteredExpression or expression.filters:
        return node, None, None
    segments = expression.left.path if type(expression.left) is Path else []
    names = tuple(name for name in segments if type(name) is str and name not in SPECIAL_SEGMENTS)
    return node, None, names if names and len(names) == len(segments) else None


def _look_up(path: tuple[str, ...], data: Mapping[str, Any]) -> str | None:
    """The value as text, or None when anything is not plain: python-liquid then decides."""
    value: Any = data
    for name in path:
        if type(value) is not dict or name not in value:
            return None
        value = value[name]
    if type(value) is str:
        return value
    if value is None:
        return ""
    return str(value) if type(value) is int and abs(value) < MAX_PLAIN_INT else None


def _dotted(segments: Iterable[object]) -> str:
    names: list[str] = []
    for segment in segments:
        if not isinstance(segment, str):
            break
        names.append(segment)
    return ".".join(names)


def _line(token: Any) -> int | None:
    if token is None or token.start_index < 0:
        return None
    return _line_at(token.source, token.start_index)


def _problem(error: LiquidError, node: Node | None = None) -> LiquidProblem:
    line = _line(error.token)
    if line is None and node is not None:
        line = _line(node.token)
    if isinstance(error.__cause__, RecursionError):
        return LiquidProblem("nested too deeply", line)
    return LiquidProblem(str(error.message or type(error).__name__), line)
