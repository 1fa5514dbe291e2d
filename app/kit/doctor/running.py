"""Processes, the public address, the secret, and settings that contradict each other."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from flask import current_app
from flask_babel import gettext, ngettext

from app.kit import db, health, http, jobs, outbox, relay
from app.kit.doctor.findings import Check, Finding, fault, ok, short_url, warning
from app.kit.redis_client import redis

DISTINCT = 10
"""Different characters that even a short random key has."""

KNOWN_WORDS = ("changeme", "change-me", "change_me", "secret", "password", "example", "embudo", "123456")
"""What people type where they meant to put a random key."""


def checks() -> list[Check]:
    """What runs, where it is reached, what protects it, what contradicts itself."""
    return [
        Check(name="relay", run=_relay),
        Check(name="workers", run=_workers),
        Check(name="outboxes", run=_outboxes),
        Check(name="public address", run=_public_url),
        Check(name="public address answers", run=_reaches_itself, calls_out=True),
        Check(name="secret", run=_secret),
        Check(name="configuration", run=_contradictions),
    ]


def _relay() -> Iterator[Finding]:
    redis().ping()  # without Redis there is no heartbeat to judge
    seen = relay.heartbeats()
    for service in current_app.extensions["embudo_services"]:
        age = seen.get(service)
        if age is None or age > relay.SILENT_SECONDS:
            what = (
                gettext("No relay has ever run for %(service)s.", service=service)
                if age is None
                else gettext(
                    "The relay of %(service)s has been silent for %(age)d s.", service=service, age=age
                )
            )
            remedy = gettext("Start it: python worker.py relay. Without it everything is late.")
            yield fault(what, "relay", remedy)
        else:
            yield ok(gettext("The relay of %(service)s sweeps.", service=service), "relay")


def _workers() -> Iterator[Finding]:
    redis().ping()
    for queue in jobs.health():
        if not queue.workers:
            yield fault(
                ngettext(
                    "No worker serves the queue %(queue)s; %(num)d job waits.",
                    "No worker serves the queue %(queue)s; %(num)d jobs wait.",
                    queue.waiting,
                    queue=queue.queue,
                ),
                "worker",
                gettext("Start one: python worker.py %(queue)s", queue=queue.queue),
            )
        elif queue.oldest_seconds is not None and queue.oldest_seconds > jobs.STALLED_SECONDS:
            yield warning(
                gettext(
                    "A job waits in %(queue)s for %(age)d s.", queue=queue.queue, age=queue.oldest_seconds
                ),
                "worker",
                gettext("Start more workers, or look at the log of those that run."),
            )
        else:
            yield ok(
                ngettext(
                    "%(num)d worker serves %(queue)s.",
                    "%(num)d workers serve %(queue)s.",
                    queue.workers,
                    queue=queue.queue,
                ),
                "worker",
            )


def _outboxes() -> Iterator[Finding]:
    for box in outbox.health():
        if box.dead:
            yield warning(
                ngettext(
                    "%(num)d event failed for good in %(service)s.",
                    "%(num)d events failed for good in %(service)s.",
                    box.dead,
                    service=box.service,
                ),
                f"/admin/dead-letters/{box.service}",
                gettext("Mend what they name, then try them again on that page."),
            )
        if box.oldest_seconds is not None and box.oldest_seconds > jobs.STALLED_SECONDS:
            yield warning(
                gettext(
                    "An event of %(service)s waits for its listeners for %(age)d s.",
                    service=box.service,
                    age=box.oldest_seconds,
                ),
                f"{box.service}_outbox",
                gettext(
                    "Start the relay and the workers of the services that listen; docs/events.md names them."
                ),
            )


def public_url() -> str:
    """PUBLIC_URL without a slash at its end, or ""."""
    return str(current_app.config.get("PUBLIC_URL") or "").rstrip("/")


def _public_url() -> Iterator[Finding]:
    where, url = "PUBLIC_URL", public_url()
    if not url:
        yield warning(
            gettext("Not set: providers cannot call us, and mails carry no links."),
            where,
            gettext(
                "Set it to the address from outside, such as https://crm.example.com; for a trial, a tunnel's."
            ),
        )
        return
    if _is_local(urlsplit(url).hostname or ""):
        yield warning(
            gettext("%(url)s leads into this network; providers cannot call it.", url=short_url(url)),
            where,
            gettext(
                "Set it to the address from outside, such as https://crm.example.com; for a trial, a tunnel's."
            ),
        )
    elif not url.startswith("https://"):
        yield fault(
            gettext("%(url)s is not https: passwords and messages travel in the open.", url=short_url(url)),
            where,
            gettext("Put a proxy with a certificate before it and write https://."),
        )


def _reaches_itself() -> Iterator[Finding]:
    where, url = "PUBLIC_URL", public_url()
    if not url:
        return
    try:
        answer = http.session(connect=3.0, read=5.0, max_body=10_000).get(f"{url}/healthz")
    except requests.RequestException as error:
        yield fault(
            gettext(
                "%(url)s/healthz cannot be fetched from here (%(kind)s).",
                url=short_url(url),
                kind=type(error).__name__,
            ),
            where,
            gettext("Check DNS, certificate, proxy, and that the web process runs."),
        )
        return
    if 300 <= answer.status_code < 400:
        yield fault(
            gettext(
                "%(url)s redirects elsewhere; signatures are made over the address that was called.",
                url=short_url(url),
            ),
            where,
            gettext("Set PUBLIC_URL to what it redirects to."),
        )
    elif answer.headers.get(health.MARK_HEADER) != health.mark():
        yield fault(
            gettext(
                "%(url)s is answered (%(status)d) by something that is not this installation.",
                url=short_url(url),
                status=answer.status_code,
            ),
            where,
            gettext("Check where DNS and the proxy lead, and that all processes share one SECRET_KEY."),
        )
    else:
        yield ok(gettext("%(url)s leads to this installation.", url=short_url(url)), where)


def _secret() -> Iterator[Finding]:
    key = str(current_app.config["SECRET_KEY"])
    remedy = gettext(
        "Make one: python -c 'import secrets; print(secrets.token_urlsafe(48))'. Put the former key into "
        "SECRET_KEY_OLD, so that stored credentials can still be read."
    )
    folded = key.lower()
    weak = len(set(key)) < DISTINCT or any(word in folded for word in KNOWN_WORDS)
    if weak:
        yield fault(
            gettext("The key can be guessed; whoever has it is everybody here."), "SECRET_KEY", remedy
        )
    if key in str(current_app.config.get("SECRET_KEY_OLD") or "").split(","):
        yield warning(
            gettext("The current key is among the former ones."),
            "SECRET_KEY_OLD",
            gettext("Take it out; keep only keys that are no longer in use."),
        )
    file = Path(current_app.instance_path) / "secret_key"
    if not os.environ.get("SECRET_KEY") and file.is_file() and file.stat().st_mode & 0o077:
        yield fault(
            gettext("Other users of this machine can read the key."),
            f"{file.parent.name}/{file.name}",
            gettext("Run: chmod 600 %(path)s", path=f"{file.parent.name}/{file.name}"),
        )
    if not weak:
        yield ok(gettext("The key is long and random enough."), "SECRET_KEY")


def _contradictions() -> Iterator[Finding]:
    config: Any = current_app.extensions["embudo_config"]
    served = set(current_app.extensions["embudo_services"])
    if public_url().startswith("https://") and not config.trusted_proxies:
        yield warning(
            gettext(
                "PUBLIC_URL is https, but no proxy is trusted: limits and logs see the proxy as everybody."
            ),
            "TRUSTED_PROXIES",
            gettext("Set it to the number of proxies before the web process, usually 1."),
        )
    for name in sorted(set(config.service_urls) & served):
        yield warning(
            gettext("The address of %(service)s is set, but this process serves it itself.", service=name),
            f"{name.upper()}_URL",
            gettext("Take the variable away, or leave the service out of SERVICES."),
        )
    others = {routes.service for routes in current_app.extensions["embudo_routes"]} - served
    for name in sorted(others - set(config.service_urls)):
        yield warning(
            gettext("%(service)s is served elsewhere, but not said where.", service=name),
            f"{name.upper()}_URL",
            gettext("Set it to that service's internal address; pages that ask it stay empty otherwise."),
        )
    hosts = {str(db.engine_of(bind).url.host or "localhost") for bind in (db.PLATFORM, *served)}
    if hosts - {"localhost", "127.0.0.1", "::1"} and not config.redis_url:
        yield warning(
            gettext(
                "The database is on another machine, but Redis is the local one: other machines do not share it."
            ),
            "REDIS_URL",
            gettext("Name a Redis that all processes reach."),
        )


def _is_local(host: str) -> bool:
    """Whether a host name or address lies on this machine or in a private network."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal"))
