"""`/message`: where providers tell us what people write and what became of our messages.

A verified request is kept as it is and answered; nothing is understood here, so nothing can go wrong here that a
provider would have to hear about. This is the busiest door of the product: no ORM, no session, one commit.
"""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint, Response, current_app, g, request
from flask.sansio.blueprints import BlueprintSetupState

from app.kit.auth import public
from app.kit.doorbell import Doorbell
from app.kit.errors import BadRequest, Forbidden, TooLarge, UnsupportedMediaType
from app.kit.rest import documented
from app.whatsapp.commands.intake import store_webhook
from app.whatsapp.providers import SENDERS, Hook, Raw, handshake
from app.whatsapp.queries import channels

BODY_BYTES = 3_000_000
"""Meta's largest webhook; Twilio's forms are a thousand times smaller."""

HOOKS: dict[str, Hook] = {name: sender.hook for name, sender in SENDERS.items() if sender.hook}

# What the OpenAPI document says of these doors; the providers' own documents say the rest.
TAGS = ("from providers",)
BODIES = {  # where two send the same type, the first of them is shown
    hook.media_types[0]: {"schema": hook.schema, "example": hook.example} for hook in reversed(HOOKS.values())
}
SIGNATURES = tuple(
    {
        "name": hook.signature,
        "in": "header",
        "schema": {"type": "string"},
        "description": hook.about,
    }
    for hook in HOOKS.values()
)
HANDSHAKE = tuple(
    {
        "name": f"hub.{name}",
        "in": "query",
        "required": True,
        "schema": {"type": "string"},
        "description": meaning,
    }
    for name, meaning in (
        ("mode", "`subscribe`"),
        ("verify_token", "The token typed at Meta and here"),
        ("challenge", "Comes back as the answer"),
    )
)
ACCEPTED = {200: {media: {"type": "string"} for _, media in (hook.answer for hook in HOOKS.values())}}
REFUSALS = (400, 403, 413, 415)

bell = Doorbell("whatsapp.process_webhooks")
bp = Blueprint("whatsapp_callbacks", __name__)


def _join(state: BlueprintSetupState) -> None:
    app = state.app
    app.extensions.setdefault("embudo_process_caches", []).append(channels.forget_doors)
    for limiter in app.extensions.get("limiter", ()):  # FAB's, for log-ins; here it would only cost time
        limiter.exempt(bp)


bp.record(_join)


@bp.before_request
def _as_api() -> None:
    g.embudo_api = True  # errors are problem+json, whatever the Accept header says


@bp.post("/message")
@public("the provider signs the bytes; verified before anything is stored")
@documented(
    summary="A message arrives",
    bodies=BODIES,
    headers=SIGNATURES,
    content=ACCEPTED,
    refusals=REFUSALS,
    tags=TAGS,
)
def receive() -> Response:
    """Keep a provider's webhook and say so."""
    return _receive()


@bp.post("/message/status")
@public("the provider signs the bytes; verified before anything is stored")
@documented(
    summary="A message's state changes",
    bodies=BODIES,
    headers=SIGNATURES,
    content=ACCEPTED,
    refusals=REFUSALS,
    tags=TAGS,
)
def receive_status() -> Response:
    """Keep what Twilio says of a message of ours."""
    return _receive()


@bp.get("/message")
@public("Meta's handshake, proved by the verify token")
@documented(
    summary="Meta's handshake",
    headers=HANDSHAKE,
    content={200: {"text/plain": {"type": "string", "description": "The challenge"}}},
    refusals=(403,),
    tags=TAGS,
)
def shake_hands() -> Response:
    """Answer Meta's challenge when the verify token is one of ours."""
    for door in channels.doors("meta"):
        challenge = handshake(request.args, door.credentials.get("verify_token", ""))
        if challenge is not None:
            return Response(challenge, mimetype="text/plain")
    raise Forbidden("The verify token is not one of this installation's.")


def _receive() -> Response:
    provider = _provider()
    if request.content_length is not None and request.content_length > BODY_BYTES:
        raise TooLarge("The body may have at most %(limit)s bytes.", limit=f"{BODY_BYTES:,}")
    request.max_content_length = BODY_BYTES
    body = request.get_data(cache=True, parse_form_data=False)
    headers = {name.lower(): value for name, value in request.headers.items()}
    raw, channel_id = _verified(provider, headers, body)
    if fault := SENDERS[provider].unreadable(raw):  # say so, so that whoever built the request can mend it
        raise BadRequest(fault)
    if store_webhook(provider, raw, channel_id):
        bell.press()
    thanks, media = HOOKS[provider].answer
    return Response(thanks, mimetype=media)


def _provider() -> str:
    """Whose request it claims to be, by the header that would prove it."""
    fitting = [name for name, hook in HOOKS.items() if request.mimetype in hook.media_types]
    if not fitting:
        known = sorted({media for hook in HOOKS.values() for media in hook.media_types})
        raise UnsupportedMediaType(f"Webhooks are {' or '.join(known)}.")
    for name in fitting:
        if HOOKS[name].signature in request.headers:
            return name
    raise Forbidden("The signature is missing or wrong.")


def _verified(provider: str, headers: dict[str, str], body: bytes) -> tuple[Raw, str | None]:
    sender = SENDERS[provider]
    doors = channels.doors(provider)
    for url in _urls():
        raw = Raw(url=url, method="POST", headers=headers, body=body)
        if len(doors) > 1:
            account = sender.account_of(raw)
            doors = tuple(sorted(doors, key=lambda door: door.address != account))
        for door in doors:
            if sender.verify(raw, door.credentials):
                return raw, door.channel_id
        if not HOOKS[provider].signs_url:
            break
    raise Forbidden("The signature is missing or wrong.")


def _urls() -> list[str]:
    """The URL as the provider called it: behind a proxy only PUBLIC_URL knows its scheme and host."""
    query = request.query_string.decode("latin-1")
    path = quote(request.path) + (f"?{query}" if query else "")
    urls = [request.host_url.rstrip("/") + path]
    public_url = current_app.config.get("PUBLIC_URL")
    if public_url:
        urls.insert(0, public_url.rstrip("/") + path)
    return list(dict.fromkeys(urls))
