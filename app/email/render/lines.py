"""Line ends and empty lines of a mail's text part."""

from __future__ import annotations

import re

_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_LINE_ENDS = re.compile(r"[ \t\xa0]+\n")


def tidy(text: str) -> str:
    """Without trailing blanks, with at most one empty line in a row, and with one line end at the end."""
    lines = "\n".join(line.strip() for line in _LINE_ENDS.sub("\n", text).splitlines())
    return _BLANK_LINES.sub("\n\n", lines).strip() + "\n"
