"""Messages come in, are stopped, are asked for again, and lose their personal data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from app.contracts.events import EmailFailed
from app.contracts.problems import Problem, problem
from app.email import queries
from app.email.address import Address, parse_address
from app.email.commands.orders import Order
from app.email.models import (
    ADDRESS_LENGTH,
    CANCELLED,
    CATEGORIES,
    DEFERRED,
    FAILED,
    LEAD_DELETED,
    OPEN,
    QUEUED,
    SENDING,
    SUPPRESSED,
    TRANSACTIONAL,
    UNKNOWN,
    Attempt,
    Message,
)
from app.email.render import (
    SOURCE_BYTES,
    Rendered,
    bind,
    compile_source,
    one_line,
    samples,
    text_from_html,
    unfillable,
)
from app.kit import outbox, telemetry, zone
from app.kit.context import request_id
from app.kit.db import db, new_id, utcnow
from app.kit.errors import Conflict, Invalid
from app.kit.jobs import ring
from app.kit.rows import insert_once
from app.kit.storable import storable_json
from app.kit.text import LiquidProblem

GIVE_UP_AFTER = timedelta(hours=24)
"""How long a message is tried; a welcome that comes later is worse than none."""

SEND_JOB = "email.send_due"

log = telemetry.get_logger("email")


@dataclass(frozen=True, kw_only=True)
class _Content:
    rendered: Rendered
    template: str | None = None
    language: str | None = None
    version: int | None = None
    variables: dict[str, Any] | None = None
    category: str = TRANSACTIONAL


def queue_email(order: Order, problems: Sequence[Problem] = ()) -> Message:
    """Render the mail and put it into the queue; with a dedupe_key seen before, return the message of then.

    problems: what the door found already; they are told together with ours. Raises Invalid with every problem: the address, an unknown template, missing, unknown or wrong variables.
    """
    if order.dedupe_key and (known := _by_dedupe_key(order.dedupe_key)):
        return known
    address = parse_address(order.to)
    content, found = _content(order)
    if isinstance(address, Problem):
        raise Invalid(_merged(problems, [address, *found]))
    if content is None or found or problems:
        raise Invalid(_merged(problems, found))
    values = _row(order, address) | {
        "subject": content.rendered.subject,
        "html": content.rendered.html or None,
        "text": content.rendered.text,
        "template": content.template,
        "template_language": content.language,
        "template_version": content.version,
        "variables": content.variables or {},
        "category": content.category,
        "status": QUEUED,
    }
    message = _insert(order, values)
    ring(SEND_JOB)
    log.info("email queued", message_id=message.id, template=order.template, lead_id=order.lead_id)
    return message


def _merged(first: Sequence[Problem], more: Sequence[Problem]) -> list[Problem]:
    """Both, but only one per field: a text of the wrong type is not “missing” as well."""
    told = {found.where for found in first}
    return [*first, *(found for found in more if found.where not in told)]


def note_unsendable(order: Order, problems: list[Problem]) -> Message:
    """Keep a wish that cannot be fulfilled as a failed message, so that somebody sees it and can mend the cause.

    For wishes that come as events: there is nobody to whom they could be refused.
    """
    if order.dedupe_key and (known := _by_dedupe_key(order.dedupe_key)):
        return known
    reason = " ".join(found.message for found in problems)
    now = utcnow()
    message = _insert(
        order,
        {
            **_row(order, None),
            "subject": one_line(order.subject or ""),
            "html": None,
            "text": "",
            "template": (order.template or "")[:60] or None,
            "template_language": (order.language or "")[:5] or None,
            "variables": dict(order.variables or {}),
            "status": FAILED,
            "next_attempt_at": None,
            "error_code": "unsendable",
            "last_error": reason[:500],
        },
    )
    db.session.add(
        Attempt(
            message_id=message.id,
            at=now,
            outcome=FAILED,
            code="unsendable",
            detail=reason[:500],
            problems=[storable_json(asdict(found)) for found in problems],
        )
    )
    outbox.publish(EmailFailed(message_id=message.id, reason="unsendable", lead_id=order.lead_id))
    log.warning("email cannot be sent", message_id=message.id, codes=[found.code for found in problems])
    return message


def retry_email(message_id: str, *, by: str = "system") -> Message:
    """Send a message that failed, waits, or may have been lost. What could not be rendered is rendered again.

    Raises NotFound, Conflict when it is on its way or was sent, Invalid when it still cannot be rendered.
    """
    message = _locked(message_id)
    if message.erased_at is not None:
        raise Conflict(problem("", "erased", "The personal data of this message was erased."))
    if message.status not in (FAILED, UNKNOWN, DEFERRED, CANCELLED, SUPPRESSED):
        raise Conflict(
            problem(
                "", "wrong_status", "A message that is “%(status)s” is not sent again.", status=message.status
            )
        )
    if message.error_code == "unsendable":
        _render_again(message)
    now = utcnow()
    message.status, message.next_attempt_at, message.give_up_at = QUEUED, now, now + GIVE_UP_AFTER
    message.attempts, message.claimed_until, message.handing_over_at = 0, None, None
    message.error_code = message.last_error = None
    message.delivery = message.provider_message_id = None  # told of the former try, not of the one to come
    db.session.add(Attempt(message_id=message.id, at=now, outcome="retry", detail=by[:120]))
    ring(SEND_JOB)
    return message


def cancel_email(message_id: str, *, by: str = "system") -> Message:
    """Stop a message that has not left. Raises NotFound, Conflict when it is too late."""
    message = _locked(message_id)
    if message.status not in (QUEUED, DEFERRED):
        raise Conflict(
            problem(
                "", "wrong_status", "A message that is “%(status)s” cannot be stopped.", status=message.status
            )
        )
    message.status, message.next_attempt_at = CANCELLED, None
    db.session.add(Attempt(message_id=message.id, outcome=CANCELLED, detail=by[:120]))
    return message


def send_sample(template_id: str, to: str, *, by: str = "system") -> Message:
    """Send a template, filled with its sample values, to somebody who wants to see it. Raises Invalid, NotFound."""
    found = queries.template_by_id(template_id)
    address = parse_address(to)
    if isinstance(address, Problem):
        raise Invalid([address])
    values, _ = bind(found.source.variables, samples(found.source.variables))
    rendered = compile_source(found.source).render(values, strict=False, now=zone.now())
    order = Order(to=to, subject=f"[{found.template.key}] {rendered.subject}", by=by)
    message = _insert(
        order,
        _row(order, address)
        | {
            "subject": one_line(order.subject or ""),
            "html": rendered.html,
            "text": rendered.text,
            "template": found.template.key,
            "template_language": found.template.language,
            "template_version": found.version.number,
            "variables": values,
            "status": QUEUED,
        },
    )
    ring(SEND_JOB)
    return message


def stop_lead(lead_id: str) -> int:
    """Stop the mails to a lead that is gone, as far as no provider is getting them; how many those were.

    One that a provider may have by now gets no other try. Those that left stay as they are: deleting a lead can be
    undone, and then its history must still be there.
    Personal data is removed by erase_email, which a person decides.
    """
    messages = db.session.scalars(
        select(Message)
        .where(Message.lead_id == lead_id, Message.status.in_(OPEN))
        .order_by(Message.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    stopped = [message for message in messages if message.handing_over_at is None]
    for message in stopped:
        # A worker that has claimed it may not hand it over any more: see note_handing_over.
        message.status, message.next_attempt_at, message.claimed_until = CANCELLED, None, None
        db.session.add(Attempt(message_id=message.id, outcome=CANCELLED, code=LEAD_DELETED))
    for message in messages:
        if message.handing_over_at is not None:
            message.give_up_at, message.error_code = utcnow(), LEAD_DELETED
    return len(stopped)


def erase_email(message_id: str, *, by: str = "system") -> Message:
    """Remove personal data from a message for good; one that waits is stopped.

    Raises NotFound, Conflict while it is being sent.
    """
    message = _locked(message_id)
    if message.status == SENDING:
        raise Conflict(problem("", "wrong_status", "It is being sent right now; try again in a moment."))
    if message.status in OPEN:
        message.status, message.next_attempt_at = CANCELLED, None
    if message.erased_at is None:
        message.to = message.to_ascii = message.subject = message.text = ""
        message.html, message.variables, message.erased_at = None, {}, utcnow()
        log.info("email erased", message_id=message.id, by=by)
    return message


def _content(order: Order) -> tuple[_Content | None, list[Problem]]:
    if order.template is None:
        return _raw_content(order)
    problems = [
        problem(
            f"/{key}", "not_with_template", "With a template, “%(field)s” comes from the template.", field=key
        )
        for key in ("subject", "html", "text", "category")
        if getattr(order, key)
    ]
    found = queries.find_template(order.template, order.language, exact=order.exact_language)
    if found is None:
        problems.append(
            problem(
                "/template", "unknown_template", "There is no template “%(key)s”.", key=order.template[:60]
            )
            if order.language is None or not order.exact_language
            else problem(
                "/template",
                "unknown_template",
                "There is no template “%(key)s” in “%(language)s”.",
                key=order.template[:60],
                language=order.language[:10],
            )
        )
        return None, problems
    values, value_problems = bind(found.source.variables, order.variables or {})
    problems += value_problems
    if problems:
        return None, problems
    try:
        rendered = compile_source(found.source).render(values, now=zone.now())
    except LiquidProblem as error:
        return None, [unfillable(error, "/template")]
    if not rendered.subject:
        return None, [problem("/template", "empty_subject", "With these values the subject is empty.")]
    return (
        _Content(
            rendered=rendered,
            template=found.template.key,
            language=found.template.language,
            version=found.version.number,
            variables=values,
            category=found.template.category,
        ),
        [],
    )


def _raw_content(order: Order) -> tuple[_Content | None, list[Problem]]:
    problems: list[Problem] = []
    subject, html, text = one_line(order.subject or ""), order.html or "", order.text or ""
    if not subject:
        problems.append(problem("/subject", "missing", "A subject is needed."))
    if order.variables:
        problems.append(problem("/variables", "without_template", "Variables need a template."))
    if order.category and order.category not in CATEGORIES:
        problems.append(
            problem(
                "/category",
                "unknown_category",
                "The category must be one of: %(categories)s.",
                categories=", ".join(CATEGORIES),
            )
        )
    for where, part in (("/html", html), ("/text", text)):
        if len(part.encode()) > SOURCE_BYTES:
            problems.append(
                problem(where, "too_long", "This is longer than %(limit)s bytes.", limit=SOURCE_BYTES)
            )
    if problems:
        return None, problems
    if html.strip() and not text.strip():
        text = text_from_html(html)
    if not html.strip() and not text.strip():
        return None, [problem("/html", "missing", "Give a template, or html or text.")]
    rendered = Rendered(subject=subject, html=html, text=text)
    return _Content(rendered=rendered, category=order.category or TRANSACTIONAL), []


def _row(order: Order, address: Address | None) -> dict[str, Any]:
    now = utcnow()
    return {
        "id": new_id(),
        "to": (address.normalized if address else order.to)[:ADDRESS_LENGTH],
        "to_ascii": address.ascii if address else "",
        "lead_id": order.lead_id,
        "dedupe_key": order.dedupe_key,
        "created_by": order.by[:120],
        "request_id": request_id(),
        "attempts": 0,
        "next_attempt_at": now,
        "give_up_at": now + GIVE_UP_AFTER,
        "created_at": now,
    }


def _insert(order: Order, values: dict[str, Any]) -> Message:
    """Add the row; when another worker added the same dedupe_key meanwhile, theirs."""
    if order.dedupe_key is None:
        message = Message(**values)
        db.session.add(message)
        db.session.flush()
        return message
    insert_once(Message, values, ["dedupe_key"])
    found = _by_dedupe_key(order.dedupe_key)
    assert found is not None  # inserted above, or there already
    return found


def _by_dedupe_key(key: str) -> Message | None:
    found: Message | None = db.session.scalar(select(Message).where(Message.dedupe_key == key))
    return found


def _locked(message_id: str) -> Message:
    queries.get_message(message_id)
    message = db.session.get(Message, message_id, with_for_update=True, populate_existing=True)
    assert message is not None  # read just before, and messages are never deleted
    return message


def _render_again(message: Message) -> None:
    order = Order(
        to=message.to,
        template=message.template,
        language=message.template_language,
        variables=message.variables,
        subject=message.subject or None,
    )
    address = parse_address(order.to)
    content, problems = _content(order)
    if isinstance(address, Problem):
        raise Invalid([address, *problems])
    if content is None:
        raise Invalid(problems)
    message.to, message.to_ascii = address.normalized, address.ascii
    message.subject, message.text = content.rendered.subject, content.rendered.text
    message.html = content.rendered.html or None
    message.template_language, message.template_version = content.language, content.version
    message.variables, message.category = content.variables or {}, content.category
