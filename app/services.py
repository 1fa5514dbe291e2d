"""The services of the product and which of them this process serves.

SERVICES=leads,email serves two; unset serves all. This is the only module that imports services by name, so that a
process which serves one service does not even load the others' models.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from flask_babel import lazy_gettext as _l

from app.kit import doctor, gateway, jobs, transport


@dataclass(frozen=True, kw_only=True)
class Service:
    """A part of the product that can run alone.

    name: its package below app/, its database bind, its metrics label. queues: its RQ queues, the urgent ones
    first. title: for people. paths: the beginnings of its public doors; callbacks: those among them, or below them,
    that providers call in bursts; screens: the beginnings of its pages in the admin. Gateways are written from these.
    """

    name: str
    title: Any
    queues: tuple[str, ...]
    paths: tuple[str, ...]
    callbacks: tuple[str, ...]
    screens: tuple[str, ...]


SERVICES: dict[str, Service] = {
    service.name: service
    for service in (
        Service(
            name="whatsapp",
            title=_l("WhatsApp flows"),
            queues=("whatsapp",),
            paths=("/message", "/start", "/status", "/flows", "/simulations", "/simulator", "/conversations"),
            callbacks=("/message",),
            screens=(
                "/admin/flows",
                "/admin/conversations",
                "/admin/channels",
                "/admin/simulator",
                "/admin/received-webhooks",
            ),
        ),
        Service(
            name="leads",
            title=_l("Leads"),
            queues=("leads", "airtable"),
            paths=("/leads", "/stages", "/airtable", "/stand-in"),
            callbacks=("/airtable/notify",),
            screens=(
                "/admin/leads",
                "/admin/board",
                "/admin/stages",
                "/admin/airtable",
                "/admin/airtable-stand-in",
            ),
        ),
        Service(
            name="email",
            title=_l("E-mail"),
            queues=("email",),
            paths=("/email", "/templates"),
            callbacks=("/email/events", "/email/unsubscribe"),
            screens=(
                "/admin/outbox",
                "/admin/email-templates",
                "/admin/suppressions",
                "/admin/mail-providers",
            ),
        ),
        Service(
            name="webhooks",
            title=_l("Webhooks"),
            queues=("webhooks",),
            paths=("/webhooks",),
            callbacks=(),
            screens=("/admin/webhooks", "/admin/webhook-deliveries"),
        ),
    )
}
"""Every service there is. Adding one: docs/howto/add-a-service.md."""


DEAD_LETTERS, STATUS = "/admin/dead-letters", "/admin/status"
"""Each service shows its own failed events, and how it does, below its name."""


class UnknownService(ValueError):
    """SERVICES names something that is no service."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(
            f"SERVICES names unknown services: {', '.join(sorted(names))}. Known are: {', '.join(SERVICES)}."
        )


def chosen(names: Iterable[str]) -> tuple[Service, ...]:
    """The services with these names (all when none is given), in the registry's order; raises UnknownService."""
    wanted = {name.strip().lower() for name in names if name.strip()}
    unknown = wanted - SERVICES.keys()
    if unknown:
        raise UnknownService(unknown)
    return tuple(service for name, service in SERVICES.items() if not wanted or name in wanted)


def part(service: Service, module: str) -> ModuleType | None:
    """A module of a service (``api``, ``jobs`` …), or None when the service has no such part."""
    name = f"app.{service.name}.{module}"
    return importlib.import_module(name) if importlib.util.find_spec(name) is not None else None


def load_models(services: Iterable[Service]) -> None:
    """Import the tables of these services."""
    for service in services:
        part(service, "models")


def blueprints(services: Iterable[Service]) -> list[Any]:
    """The HTTP doors of these services: `bp` of their api and callbacks modules."""
    found: list[Any] = []
    for service in services:
        for name in ("callbacks", "api"):
            module = part(service, name)
            if module is not None:
                found += getattr(module, "BLUEPRINTS", None) or [module.bp]
    return found


def all_jobs(services: Iterable[Service]) -> list[jobs.Job]:
    """The jobs of these services, and the one by which each receives events."""
    found: list[jobs.Job] = []
    for service in services:
        module = part(service, "jobs")
        if module is not None:
            found += module.JOBS
        if handlers(service):
            found.append(transport.receive_job(service.name))
    return found


def handlers(service: Service) -> dict[Any, Any]:
    """What the service does on which event."""
    module = part(service, "subscribers")
    return dict(module.HANDLERS) if module is not None else {}


def metrics_parts(services: Iterable[Service]) -> list[Any]:
    """What these services tell Prometheus: PARTS of their metrics modules."""
    found: list[Any] = []
    for service in services:
        module = part(service, "metrics")
        if module is not None:
            found += module.PARTS
    return found


def routes() -> tuple[gateway.Routes, ...]:
    """Which paths belong to which service, also to those that this process does not serve."""
    return tuple(
        gateway.Routes(
            service=service.name,
            paths=service.paths,
            callbacks=service.callbacks,
            screens=(*service.screens, *(f"{page}/{service.name}" for page in (DEAD_LETTERS, STATUS))),
        )
        for service in SERVICES.values()
    )


def elsewhere(served: Iterable[Service]) -> tuple[tuple[str, Any, str], ...]:
    """(name, title, first screen) of the services that other processes serve, behind the same gateway."""
    here = {service.name for service in served}
    return tuple(
        (name, service.title, f"{service.screens[0]}/list/")
        for name, service in SERVICES.items()
        if name not in here
    )


def register_admin(services: Iterable[Service], appbuilder: Any) -> None:
    """Add the screens of these services to the admin."""
    for service in services:
        module = part(service, "admin")
        if module is not None:
            module.register(appbuilder)


def checks(services: Iterable[Service]) -> list[doctor.Check]:
    """What `flask ops doctor` asks of these services and of the providers they use."""
    found: list[doctor.Check] = []
    for service in services:
        module = part(service, "doctor")
        if module is not None:
            found += module.checks()
    return found


def seed(services: Iterable[Service]) -> None:
    """Give these services the rows they cannot do without (stages, default templates); idempotent."""
    for service in services:
        module = part(service, "demo")
        if module is not None and hasattr(module, "seed"):
            module.seed()


def load_demo(services: Iterable[Service]) -> list[str]:
    """Fill these services with something to look at; returns a sentence for each thing made."""
    made: list[str] = []
    for service in services:
        module = part(service, "demo")
        if module is not None:
            made += module.load_demo()
    return made
