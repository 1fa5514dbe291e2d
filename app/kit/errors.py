"""The few ways in which things go wrong, so that every door can answer each of them the same way.

Commands and queries raise the first group; adapters raise only the second, whatever their provider says.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from app.contracts.problems import MOST_SHOWN, N_, Problem


class EmbudoError(Exception):
    """A refusal with an HTTP status and a sentence for the person who asked.

    template, params: as a Problem's; without a sentence of its own, the problems tell. detail: all of it in English.
    problems: the first MOST_SHOWN are kept, so that a body full of mistakes is not answered with ten times its size.
    """

    status = 500
    title = "Internal error"

    def __init__(self, template: str = "", /, *, problems: Iterable[Problem] = (), **params: object) -> None:
        self.template, self.params = template, params
        self.problems = list(islice(problems, MOST_SHOWN))
        own = template % params if params else template
        self.detail = own or "; ".join(p.message for p in self.problems)
        super().__init__(self.detail)


class BadRequest(EmbudoError):
    """The request could not be read at all (malformed JSON, wrong Content-Type)."""

    status = 400
    title = "Bad request"


class Unauthorized(EmbudoError):
    """No credentials, or none that are valid."""

    status = 401
    title = "Unauthorized"


class Forbidden(EmbudoError):
    """Known, but not allowed."""

    status = 403
    title = "Forbidden"


class NotFound(EmbudoError):
    """There is no such thing, or the asker may not know of it. what: a noun; it is translated, too."""

    status = 404
    title = "Not found"

    def __init__(self, what: str, id_: object = "") -> None:
        if id_ == "":
            super().__init__(N_("There is no %(what)s."), what=what)
        else:
            super().__init__(N_("There is no %(what)s %(id)s."), what=what, id=id_)


class Conflict(EmbudoError):
    """The request contradicts what is stored."""

    status = 409
    title = "Conflict"

    def __init__(self, *problems: Problem) -> None:
        super().__init__(problems=problems)


class PreconditionFailed(EmbudoError):
    """If-Match names a version that is no longer the current one."""

    status = 412
    title = "Precondition failed"


class TooLarge(EmbudoError):
    """The body exceeds the door's limit."""

    status = 413
    title = "Body too large"


class UnsupportedMediaType(EmbudoError):
    """The Content-Type is not one that this door reads."""

    status = 415
    title = "Unsupported media type"


class Invalid(EmbudoError):
    """The input was read and is wrong; lists every problem."""

    status = 422
    title = "Invalid input"

    def __init__(self, problems: Iterable[Problem]) -> None:
        super().__init__(problems=problems)


class PreconditionRequired(EmbudoError):
    """A change needs If-Match, so that nobody overwrites what they have not seen."""

    status = 428
    title = "Precondition required"


class TooMany(EmbudoError):
    """A limit was reached; retry_after in seconds."""

    status = 429
    title = "Too many requests"

    def __init__(self, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(
            N_("Too many requests; try again in %(seconds)s s."), seconds=max(1, round(retry_after))
        )


class Unavailable(EmbudoError):
    """A part this request needs does not answer now."""

    status = 503
    title = "Unavailable"


class ProviderError(Exception):
    """What a provider's failure means to us.

    detail: the provider's sentence, without personal data; code: the provider's own code, kept for the admin.
    """

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        self.detail = detail
        self.code = code
        super().__init__(f"{code}: {detail}" if code else detail)


class Temporary(ProviderError):
    """Nothing was delivered and the same call may succeed later."""


class RateLimited(Temporary):
    """Nothing was delivered because we are too fast; retry_after in seconds when the provider says it."""

    def __init__(self, detail: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(detail, code=code)
        self.retry_after = retry_after


class Permanent(ProviderError):
    """Nothing was delivered and the same call will never succeed."""


class Misconfigured(Temporary):
    """Nothing was delivered because of our account or credentials: every call will fail until a person mends it."""


class Unknown(ProviderError):
    """The call may have been delivered: it must be reconciled before it is repeated."""
