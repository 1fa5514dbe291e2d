"""The REST door: what every endpoint of every service does the same way.

Bodies and queries are pydantic models; errors are problem+json and name every problem (RFC 9457); changes are
guarded by ETags, repeats by Idempotency-Key, lists are paged by cursor, and all of it is in the served OpenAPI.
"""

from app.kit.rest.endpoint import (
    Body,
    api_blueprint,
    created,
    endpoint,
    etag_of,
    if_match,
    require_match,
    version_to_match,
)
from app.kit.rest.idempotency import idempotency_table
from app.kit.rest.openapi import document, documented
from app.kit.rest.paging import Cursor, Moment, Page, PageQuery, bad_cursor, decode_cursor, encode_cursor
from app.kit.rest.problems import init_problems, problem_response

__all__ = [
    "Body",
    "Cursor",
    "Moment",
    "Page",
    "PageQuery",
    "api_blueprint",
    "bad_cursor",
    "created",
    "decode_cursor",
    "document",
    "documented",
    "encode_cursor",
    "endpoint",
    "etag_of",
    "idempotency_table",
    "if_match",
    "init_problems",
    "problem_response",
    "require_match",
    "version_to_match",
]
