"""What many operations of the OpenAPI document share: headers, parameters, refusals, and how it all begins."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

INTRODUCTION = """\
WhatsApp flows, leads, e-mail and webhooks over HTTP.

**Keys.** Send an API key as `Authorization: Bearer emb_…`. Each operation names the scope it needs. A key that acts as
a seller sees and changes only that seller's leads and conversations.

**Errors** are RFC 9457 problem documents (`application/problem+json`). `errors` lists everything that is wrong, each
with a JSON pointer and a code that stays the same in every language.

**Repeating.** Send an `Idempotency-Key` with a POST and repeat it freely for 24 hours: the effect happens once, the
first answer comes again with `Idempotency-Replayed: true`. The same key with another request is refused with 422.

**Changing.** Where an `ETag` is given, send it back in `If-Match`. 428: it is missing. 412: somebody else was faster.

**Lists** are paged: `next` of a page is the `cursor` of the following one, null on the last.

**Limits.** 429 says in `Retry-After` how many seconds to wait.
"""

_TEXT = {"type": "string"}

HEADERS: dict[str, Any] = {
    "X-Request-Id": {
        "description": "Id of this request, the caller's own when it sent one; it is in every log line",
        "schema": _TEXT,
        "required": True,
    },
    "ETag": {
        "description": "The version of what is shown; send it back in If-Match",
        "schema": _TEXT,
        "required": True,
        "example": '"3"',
    },
    "Location": {
        "description": "Where to read what was made or started",
        "schema": {"type": "string", "format": "uri-reference"},
        "required": True,
    },
    "Idempotency-Replayed": {
        "description": "There when the answer is a repetition of an earlier one",
        "schema": {"type": "string", "const": "true"},
    },
    "Retry-After": {
        "description": "Seconds to wait",
        "schema": {"type": "integer", "minimum": 1},
        "required": True,
    },
    "X-Embudo-Installation": {
        "description": "Tells one installation from another; the same from all of its processes",
        "schema": _TEXT,
        "required": True,
    },
    "WWW-Authenticate": {"description": "How to present a key", "schema": _TEXT, "required": True},
}

PARAMETERS: dict[str, Any] = {
    "RequestId": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "An id of yours for this request: 8 to 64 letters, digits, dots, dashes; others are replaced",
        "schema": _TEXT,
        "example": "order-4711.1",
    },
    "AcceptLanguage": {
        "name": "Accept-Language",
        "in": "header",
        "description": "Language of the messages in errors",
        "schema": _TEXT,
        "example": "es",
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Repeats with the same key and body have no further effect, for 24 hours",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        "example": "order-4711",
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "required": True,
        "description": "The ETag you last saw; “*” changes whatever is there",
        "schema": _TEXT,
        "example": '"3"',
    },
    "IfMatchOptional": {
        "name": "If-Match",
        "in": "header",
        "description": "The ETag you last saw, when the change shall happen only to that version",
        "schema": _TEXT,
        "example": '"3"',
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The ETag you have; 304 when it is still the current one",
        "schema": _TEXT,
        "example": '"3"',
    },
}

REFUSED: dict[int, tuple[str, str]] = {
    400: (
        "The request could not be read",
        "The body is not JSON: unexpected character: line 1 column 1 (char 0).",
    ),
    401: (
        "No key, or one that is unknown, expired or revoked",
        "This API key is unknown, expired or revoked.",
    ),
    403: ("The key may not do this", "This needs the scope leads:write; “web form” does not have it."),
    404: ("There is no such thing, or not for this key", "There is no lead 0193a3c4."),
    409: ("It contradicts what is stored", "This e-mail belongs to another lead."),
    412: (
        "If-Match names another version",
        "Somebody changed this meanwhile; read it again and repeat your change.",
    ),
    413: ("The body is too large", "The body may have at most 1,000,000 bytes."),
    415: (
        "The Content-Type is not one that is read here",
        "Send the body as JSON with “Content-Type: application/json”.",
    ),
    422: ("The input was read and is wrong; `errors` lists everything", "Field required."),
    428: ("If-Match is missing", "Send If-Match with the ETag you last saw, so that no change is lost."),
    429: ("Too many requests", "Too many requests; try again in 2 s."),
    503: (
        "A part of the system does not answer now",
        "The database does not answer now; try again in a few seconds.",
    ),
}
"""Every refusal an operation may name: what it means, and an example of its detail."""

PATH_WORDS = {
    "number": "Number of the version",
    "key": "Key of the template",
    "token": "What stands in the mail's link",
}


def of_path(name: str) -> str:
    """What a path parameter is."""
    return PATH_WORDS.get(name) or "Id of the " + name.removesuffix("_id").replace("_", " ")


def refusals() -> dict[str, Any]:
    """The components of all refusals, as problem+json with an example."""
    return {f"Refused{status}": _refusal(status) for status in REFUSED}


def _refusal(status: int) -> dict[str, Any]:
    meaning, detail = REFUSED[status]
    headers = ["X-Request-Id"]
    if status == 401:
        headers.append("WWW-Authenticate")
    if status == 429:
        headers.append("Retry-After")
    example: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": "/leads",
        "request_id": "0193a3c4-5d6e-7f80-9a1b-2c3d4e5f6071",
    }
    if status == 422:
        example["errors"] = [{"where": "/name", "code": "missing", "message": detail, "params": {}}]
    return {
        "description": meaning,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {
            "application/problem+json": {
                "schema": {"$ref": "#/components/schemas/ProblemDocument"},
                "example": example,
            }
        },
    }
