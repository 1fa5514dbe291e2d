"""What strangers call: providers tell what became of mails, recipients unsubscribe.

A notice is verified, kept as it is, and answered; a job understands it. Nobody is unsubscribed by GET: mail
scanners follow every link in a mail.
"""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Blueprint, Response, current_app, g, render_template, request
from flask.sansio.blueprints import BlueprintSetupState
from flask_babel import force_locale

from app.email import commands, queries
from app.email.jobs.feedback import sns_fetch
from app.email.models import LANGUAGES, Message
from app.email.providers import sendgrid_events, sns
from app.kit.auth import public
from app.kit.db import db, transaction
from app.kit.errors import BadRequest, Forbidden, NotFound, ProviderError, TooLarge, Unavailable
from app.kit.rest import documented

BODY_BYTES = 3_000_000
"""SendGrid's batches stay far below 1 MB, SNS's messages below 256 kB."""

# What the OpenAPI document says of these doors; the providers' own documents say the rest.
FROM_PROVIDERS = ("from providers",)
EVENTS = {
    "application/json": {
        "schema": {"type": "array", "items": {"type": "object"}},
        "example": [{"event": "delivered", "sg_event_id": "1"}],
    }
}
MESSAGE = {
    "text/plain": {"schema": {"type": "string"}, "example": '{"Type": "Notification", "MessageId": "1"}'}
}
FORM = {
    "application/x-www-form-urlencoded": {
        "schema": {"type": "object", "properties": {"action": {"type": "string"}}},
        "example": {"List-Unsubscribe": "One-Click"},
    }
}
PAGE: dict[int, Any] = {200: {"text/html": {"type": "string"}}}

bp = Blueprint("email_callbacks", __name__)


def _join(state: BlueprintSetupState) -> None:
    for limiter in state.app.extensions.get(
        "limiter", ()
    ):  # FAB's, for log-ins; here it would only cost time
        limiter.exempt(bp)


bp.record(_join)


@bp.post("/email/events/sendgrid")
@public("SendGrid signs the bytes; verified before anything is stored")
@documented(
    summary="SendGrid tells what became of mails",
    bodies=EVENTS,
    content={204: {}},
    refusals=(400, 403, 413),
    tags=FROM_PROVIDERS,
)
def sendgrid() -> Response:
    """Keep a batch of SendGrid's events."""
    body = _body()
    key = _setting("sendgrid", "SENDGRID_WEBHOOK_KEY")
    if not key:
        raise Forbidden("SENDGRID_WEBHOOK_KEY is not set, so nothing can be verified.")
    if not sendgrid_events.verify(key, dict(request.headers), body):
        raise Forbidden("The signature is missing or wrong.")
    if not body.lstrip().startswith(b"["):
        raise BadRequest("The body is not a list of events.")
    _keep("sendgrid", f"sendgrid:{hashlib.sha256(body).hexdigest()}", body)
    return Response(status=204)


@bp.post("/email/events/ses")
@public("Amazon SNS signs its messages; verified, with their topic, before anything is stored")
@documented(
    summary="Amazon SES tells what became of mails",
    bodies=MESSAGE,
    content={204: {}},
    refusals=(403, 413),
    tags=FROM_PROVIDERS,
)
def ses() -> Response:
    """Keep what a topic of ours says."""
    body = _body()
    topics = [item.strip() for item in _setting("ses", "SES_TOPIC_ARNS").split(",") if item.strip()]
    if not topics:
        raise Forbidden("SES_TOPIC_ARNS is not set, so no topic is ours.")
    db.session.rollback()  # nothing stays open while Amazon is asked for its certificate
    try:
        envelope = sns.verify(body, request.headers.get("x-amz-sns-message-type"), topics, sns_fetch())
    except sns.Refused as refusal:
        raise Forbidden(str(refusal)) from refusal
    except ProviderError as error:  # the certificate could not be had; SNS comes again
        raise Unavailable("Amazon's certificate could not be read now.") from error
    _keep("ses", f"ses:{envelope['MessageId']}", body)
    return Response(status=204)


@bp.get("/email/unsubscribe/<token>")
@public("the token is signed by us; shows no personal data and changes nothing")
@documented(summary="The page that asks whether to unsubscribe", content=PAGE, refusals=(), tags=("email",))
def ask(token: str) -> Any:
    """A page that asks."""
    return _page(token, _message(token), done=None)


@bp.post("/email/unsubscribe/<token>")
@public("the token is signed by us; mail programs post here without a person (RFC 8058)")
@documented(summary="Unsubscribe", bodies=FORM, content=PAGE, refusals=(413,), tags=("email",))
def unsubscribe(token: str) -> Any:
    """No more marketing, or undo that. Never a redirect: RFC 8058 forbids it."""
    message = _message(token)
    undo = request.form.get("action") == "undo"
    with transaction():
        (commands.subscribe_again if undo else commands.unsubscribe)(message)
    return _page(token, message, done="undo" if undo else "unsubscribe")


def _message(token: str) -> Message:
    request.max_content_length = 10_000
    message = commands.message_of(token)
    if message is None:
        raise NotFound("such link")
    return message


def _page(token: str, message: Message, *, done: str | None) -> Any:
    """In the language that the mail was written in, else in the browser's."""
    language = request.args.get("lang") or message.template_language
    if language not in LANGUAGES:
        language = request.accept_languages.best_match(LANGUAGES) or current_app.config["DEFAULT_LANGUAGE"]
    with force_locale(language):
        page = render_template(
            "email/unsubscribe.html",
            lang=language,
            others=[code for code in LANGUAGES if code != language],
            token=token,
            done=done,
        )
    response = Response(page, mimetype="text/html")
    response.headers["X-Robots-Tag"] = "noindex"
    response.headers["Referrer-Policy"] = "no-referrer"  # the address is the key
    return response


def _setting(way: str, variable: str) -> str:
    chosen = next(one for one in queries.all_ways(current_app.config) if one.name == way)
    return str(chosen.config.get(variable) or "")


def _body() -> bytes:
    g.embudo_api = True  # errors are problem+json, whatever the Accept header says
    if request.content_length is not None and request.content_length > BODY_BYTES:
        raise TooLarge("The body may have at most %(limit)s bytes.", limit=f"{BODY_BYTES:,}")
    request.max_content_length = BODY_BYTES
    return request.get_data(cache=False, parse_form_data=False)


def _keep(provider: str, key: str, body: bytes) -> None:
    with transaction():
        commands.store_notice(provider, key, body)
