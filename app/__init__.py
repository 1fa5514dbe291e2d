"""Wires the product together. Nothing inside app/ imports this module; wsgi, worker, migrations and tests do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import IntegerConverter

from app import services
from app.kit import cli, db, health, jobs, lanes, metrics, remote, requests_in, telemetry, transport
from app.kit.doctor import running, storage
from app.kit.redis_client import init_redis
from app.kit.redis_server import socket_path
from app.kit.rest import init_problems
from config import Config

POOLS = {"web": (4, 0), "worker": (2, 1), "relay": (1, 1), "cli": (1, 2)}
"""Database connections per process and engine, kept and in a rush, by role. On one PostgreSQL: two web processes,
three worker children and the relay need at most 8 + 9 + 2 of the 20 that the smallest plans allow."""


class _Application(Flask):
    """Flask without what only others need at every request."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself: no view and no hook here is async, and a dozen are asked at each request."""
        return func


class _Number(IntegerConverter):
    """A number in an address. A longer one than any column holds is no address of ours, and no error either."""

    regex = r"\d{1,9}"


def create_app(config: Config | None = None, *, role: str = "web") -> Flask:
    """Build the product as this process serves it.

    config: read from the environment when not given. role: web, worker, relay or cli; decides how many database
    connections the process may hold. Raises ConfigError naming everything that is wrong with the environment.
    Touches no database and no Redis: both may be down.
    """
    config = config or Config.from_env()
    served = services.chosen(config.services)
    app = _Application(__name__, instance_path=str(config.instance_dir), static_folder=None)
    app.url_map.converters["int"] = _Number
    app.config.from_mapping(config.to_flask())
    app.config["REDIS_URL"] = config.redis_url or f"unix://{socket_path(config.instance_dir)}"
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = _engine_options(config, role)
    app.config["SQLALCHEMY_BINDS"] = {
        bind: {"url": url, **_engine_options_of(url, role)}
        for bind, url in config.databases.items()
        if bind in {service.name for service in served}
    }
    app.extensions["embudo_services"] = tuple(service.name for service in served)
    app.extensions["embudo_routes"] = services.routes()
    app.extensions["embudo_elsewhere"] = services.elsewhere(served)
    app.extensions["embudo_config"] = config
    if config.trusted_proxies:
        count = config.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count)  # type: ignore[method-assign]
    telemetry.init_telemetry(app)
    services.load_models(served)
    db.init_db(app)
    init_redis(app)
    lanes.init_lanes(app)
    requests_in.init_requests(app)
    init_problems(app)
    app.extensions["embudo_transport"] = _transport(config)
    app.extensions["embudo_handlers"] = {service.name: services.handlers(service) for service in served}
    jobs.init_jobs(app, services.all_jobs(served))
    if role != "relay":
        _add_doors(app, served)
    return app


def _add_doors(app: Flask, served: tuple[services.Service, ...]) -> None:
    """What people, integrators, shells and jobs that act for people need.

    The relay shows no page and decides nothing; without the admin and its library it takes a third less memory.
    """
    from app import admin

    app.extensions["embudo_find_user"] = admin.find_user
    app.extensions["embudo_metadata"] = _metadata(served, admin.fab_metadata())
    app.extensions["embudo_demo"] = lambda: services.load_demo(served)
    app.extensions["embudo_doctor"] = lambda: [
        *storage.checks(),
        *running.checks(),
        *admin.checks(),
        *services.checks(served),
    ]
    app.extensions["embudo_setup"] = lambda: services.seed(served)
    app.extensions["embudo_setup_security"] = admin.setup_security
    app.extensions["embudo_reset_password"] = admin.reset_password
    with app.app_context():
        appbuilder = admin.init_admin(app)
        services.register_admin(served, appbuilder)
    remote.init_remote(app)
    app.register_blueprint(health.bp)
    metrics.init_metrics(app, services.metrics_parts(served))
    app.register_blueprint(metrics.bp)
    for blueprint in services.blueprints(served):
        app.extensions["csrf"].exempt(blueprint)
        app.register_blueprint(blueprint)
    app.cli.add_command(cli.ops)


def _transport(config: Config) -> transport.Transport:
    if not config.events_broker_url:
        return transport.RedisTransport()
    from app.kit.broker import BrokerTransport  # who has no broker does not load its client

    return BrokerTransport(config.events_broker_url)


def _engine_options(config: Config, role: str) -> dict[str, Any]:
    return _engine_options_of(config.databases[db.PLATFORM], role)


def _engine_options_of(url: str, role: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"hide_parameters": True}
    size, more = POOLS[role]
    return {
        "hide_parameters": True,  # parameters are personal data, and error texts end in logs
        "pool_size": size,
        "max_overflow": more,
        "pool_timeout": 10,
        "connect_args": {"connect_timeout": 5, "options": "-c statement_timeout=30000 -c lock_timeout=10000"},
    }


def _metadata(served: tuple[services.Service, ...], fab: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {db.PLATFORM: [fab, db.metadata_of(db.PLATFORM)]}
    found |= {service.name: [db.metadata_of(service.name)] for service in served}
    return found
