"""The text part of a mail, made from its HTML. Pure.

A mail without a text part counts as spam with many filters and is unreadable on watches and in terminals. It is
made once per template, from HTML whose Liquid is hidden behind tokens, so a recipient costs no HTML parsing.
"""

from __future__ import annotations

import lxml.html
from inscriptis import Inscriptis
from lxml.html import HtmlElement

from app.email.render.lines import tidy
from app.email.render.masking import Mask

_LAYOUT = {"table": "div", "tbody": "div", "thead": "div", "tfoot": "div", "tr": "div", "td": "p", "th": "p"}


def text_of(html: str, mask: Mask) -> str:
    """The readable text of an HTML document; links are written as ``text (address)``.

    Layout tables, of which mails consist, become paragraphs; rows of real tables become lines.
    Raises ValueError for what cannot be read, RecursionError for what is nested too deep.
    """
    try:
        tree = lxml.html.document_fromstring(html)
    except lxml.etree.LxmlError as error:
        raise ValueError(str(error)) from error
    _tokens_into_text(tree, mask)
    _links_into_text(tree)
    _flatten_tables(tree)
    body = tree.find("body")
    return tidy(Inscriptis(tree if body is None else body).get_text())


def _tokens_into_text(tree: HtmlElement, mask: Mask) -> None:
    for comment in list(tree.iter(lxml.etree.Comment)):
        token = mask.token_in_comment(comment.text or "")
        if token is None:
            comment.drop_tree()
            continue
        span = lxml.html.Element("span")
        span.text = token
        span.tail = comment.tail
        comment.getparent().replace(comment, span)
        span.drop_tag()  # an element would get blanks around it


def _links_into_text(tree: HtmlElement) -> None:
    for link in tree.iter("a"):
        href = (link.get("href") or "").strip()
        if not (link.text_content() or "").strip():
            link.text = " ".join(alt for img in link.iter("img") if (alt := (img.get("alt") or "").strip()))
        shown = (link.text_content() or "").strip()
        address = href.removeprefix("mailto:").removeprefix("tel:")
        if not href or href.startswith("#") or address == shown:
            continue
        tail = lxml.html.Element("span")
        tail.text = f" ({address})" if shown else address
        link.append(tail)
        tail.drop_tag()


def _flatten_tables(tree: HtmlElement) -> None:
    for table in list(tree.iter("table")):
        is_layout = table.get("role") in {"presentation", "none"}
        for cell in table.iter("td", "th"):
            if cell.tag in _LAYOUT and not is_layout and _table_of(cell) is table:
                cell.tag = "span"
                cell.tail = "  "
    for element in list(tree.iter(*_LAYOUT)):
        element.tag = _LAYOUT[element.tag]


def _table_of(cell: HtmlElement) -> HtmlElement | None:
    return next(cell.iterancestors("table"), None)
