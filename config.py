"""The environment, read once, refused early, with every mistake named.

Each setting is a field with its meaning; what the process does not understand stops it at the start with the name of
the variable and what to do, not in the middle of the night.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import tzlocal

BINDS = ("platform", "whatsapp", "leads", "email", "webhooks")
"""The databases: one per service, and the platform's (users, roles, API keys)."""

MAIL_PROVIDERS = ("smtp", "sendgrid", "ses")
"""The ways in which mail can leave."""

TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}
LANGUAGES = ("es", "en")


class ConfigError(ValueError):
    """The environment cannot be used; the message names every variable and what to do."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("Embudo cannot start:\n" + "\n".join(f"  - {item}" for item in problems))


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything a process may be told."""

    instance_dir: Path
    secret_key: str = field(repr=False)
    secret_key_old: str = field(repr=False, default="")
    admin_password: str | None = field(repr=False, default=None)
    services: tuple[str, ...] = ()
    databases: dict[str, str] = field(repr=False)
    redis_url: str | None = field(repr=False, default=None)
    events_broker_url: str | None = field(repr=False, default=None)
    service_urls: dict[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = ""
    trusted_proxies: int = 0
    metrics_token: str | None = field(repr=False, default=None)
    metrics_port: int | None = None
    metrics_dir: Path | None = None
    web_concurrency: int = 2
    web_threads: int = 4
    worker_processes: int = 3
    log_level: str = "INFO"
    log_format: str = "json"
    default_language: str = "es"
    default_country: str = "ES"
    timezone: str = "UTC"
    simulator: bool = True
    claim_seconds: int = 60
    whatsapp_answer_seconds: int = 120
    mail_answer_seconds: int = 300
    api_rate_per_second: float = 50.0
    api_burst: float = 200.0
    email_check_dns: bool = False
    webhooks_allow_private: tuple[str, ...] = ()
    mail: dict[str, Any] = field(repr=False, default_factory=dict)
    providers: dict[str, str] = field(repr=False, default_factory=dict)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Read the environment; raises ConfigError with everything that is wrong."""
        return _Reader(os.environ if environ is None else environ).read()

    def to_flask(self) -> dict[str, Any]:
        """The same as Flask and its extensions want it."""
        https = self.public_url.startswith("https://")
        return {
            "SECRET_KEY": self.secret_key,
            "SECRET_KEY_OLD": self.secret_key_old,
            "ADMIN_PASSWORD": self.admin_password,
            "SQLALCHEMY_DATABASE_URI": self.databases["platform"],
            "EVENTS_BROKER_URL": self.events_broker_url,
            "SERVICE_URLS": self.service_urls,
            "PUBLIC_URL": self.public_url,
            "METRICS_TOKEN": self.metrics_token,
            "METRICS_PORT": self.metrics_port,
            "METRICS_HOST": self.host,
            "METRICS_DIR": self.metrics_dir or self.instance_dir / "metrics",
            "WORKER_PROCESSES": self.worker_processes,
            "LOG_LEVEL": self.log_level,
            "LOG_FORMAT": self.log_format,
            "DEFAULT_LANGUAGE": self.default_language,
            "DEFAULT_COUNTRY": self.default_country,
            "TIMEZONE": self.timezone,
            "BABEL_DEFAULT_LOCALE": self.default_language,
            "SIMULATOR": self.simulator,
            "CLAIM_SECONDS": self.claim_seconds,
            "WHATSAPP_ANSWER_SECONDS": self.whatsapp_answer_seconds,
            "MAIL_ANSWER_SECONDS": self.mail_answer_seconds,
            "API_RATE_PER_SECOND": self.api_rate_per_second,
            "API_BURST": self.api_burst,
            "EMAIL_CHECK_DNS": self.email_check_dns,
            "WEBHOOKS_ALLOW_PRIVATE": self.webhooks_allow_private,
            "SESSION_COOKIE_NAME": "embudo",
            "SESSION_COOKIE_HTTPONLY": True,
            "SESSION_COOKIE_SAMESITE": "Lax",
            "SESSION_COOKIE_SECURE": https,
            "REMEMBER_COOKIE_SECURE": https,
            "MAX_CONTENT_LENGTH": 16_000_000,
            "MAX_FORM_MEMORY_SIZE": 2_000_000,
            **self.mail,
            **self.providers,
        }


class _Reader:
    """Reads variable by variable and collects what is wrong."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def read(self) -> Config:
        instance = Path(self.text("EMBUDO_INSTANCE") or Path(__file__).parent / "instance").resolve()
        services = tuple(name.strip().lower() for name in self.text("SERVICES").split(",") if name.strip())
        for name in sorted(set(services) - set(BINDS[1:])):
            self.problems.append(
                f"SERVICES names “{name}”, which is no service; known are {', '.join(BINDS[1:])}."
            )
        public_url = self.url("PUBLIC_URL", ("http", "https")).rstrip("/")
        values: dict[str, Any] = {
            "instance_dir": instance,
            "services": services,
            "databases": self.databases(instance, services),
            "redis_url": self.redis(),
            "events_broker_url": self.url("EVENTS_BROKER_URL", ("amqp", "amqps")) or None,
            "service_urls": {
                name: self.url(f"{name.upper()}_URL", ("http", "https"))
                for name in BINDS[1:]
                if self.text(f"{name.upper()}_URL")
            },
            "public_url": public_url,
            "admin_password": self.text("ADMIN_PASSWORD") or None,
            "host": self.text("HOST") or ("0.0.0.0" if self.text("DYNO") else "127.0.0.1"),  # noqa: S104
            "port": self.number("PORT", 8080, low=1, high=65535),
            "metrics_token": self.metrics_token() or None,
            "metrics_port": self.number("METRICS_PORT", 0, low=1, high=65535) or None,
            "metrics_dir": self.folder("METRICS_DIR"),
            "trusted_proxies": self.number("TRUSTED_PROXIES", 1 if self.text("DYNO") else 0, low=0, high=5),
            "web_concurrency": self.number("WEB_CONCURRENCY", 2, low=1, high=64),
            "web_threads": self.number("WEB_THREADS", 4, low=1, high=64),
            "worker_processes": self.number("WORKER_PROCESSES", 3, low=1, high=64),
            "claim_seconds": self.number("CLAIM_SECONDS", 60, low=1, high=3600),
            "whatsapp_answer_seconds": self.number("WHATSAPP_ANSWER_SECONDS", 120, low=1, high=86_400),
            "mail_answer_seconds": self.number("MAIL_ANSWER_SECONDS", 300, low=1, high=86_400),
            "api_rate_per_second": float(self.number("API_RATE_PER_SECOND", 50, low=1, high=100_000)),
            "api_burst": float(self.number("API_BURST", 200, low=1, high=100_000)),
            "log_level": self.one_of("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"), str.upper),
            "log_format": self.one_of("LOG_FORMAT", "json", ("json", "console"), str.lower),
            "default_language": self.one_of("DEFAULT_LANGUAGE", "es", LANGUAGES, str.lower),
            "default_country": self.country("DEFAULT_COUNTRY", "ES"),
            "timezone": self.timezone("TIMEZONE"),
            "simulator": self.switch("SIMULATOR", default=True),
            "email_check_dns": self.switch("EMAIL_CHECK_DNS", default=False),
            "webhooks_allow_private": self.hosts("WEBHOOKS_ALLOW_PRIVATE"),
            "mail": self.mail(),
            "providers": {name: self.text(name) for name in PROVIDER_VARIABLES if self.text(name)},
            "secret_key_old": self.text("SECRET_KEY_OLD"),
            "secret_key": self.secret_key(instance),
        }
        if values["admin_password"] is not None and len(values["admin_password"]) < 12:
            self.problems.append("ADMIN_PASSWORD is too short; use at least 12 characters.")
        if values["metrics_port"] and not values["metrics_token"]:
            self.problems.append(
                "METRICS_PORT is set without METRICS_TOKEN; set that, too, for nothing is told without it."
            )
        for name in URL_VARIABLES:
            self.url(name, ("http", "https"))
        if self.problems:
            raise ConfigError(self.problems)
        return Config(**values)

    def text(self, name: str) -> str:
        return self.environ.get(name, "").strip()

    def number(self, name: str, default: int, *, low: int, high: int) -> int:
        given = self.text(name)
        if not given:
            return default
        if not (given.isascii() and given.isdecimal()) or not low <= int(given) <= high:
            self.problems.append(f"{name} must be a whole number from {low} to {high}; it is “{given}”.")
            return default
        return int(given)

    def switch(self, name: str, *, default: bool) -> bool:
        given = self.text(name).lower()
        if name not in self.environ or not given:
            return default
        if given not in TRUE | FALSE:
            self.problems.append(f"{name} must be on or off; it is “{given}”.")
        return given in TRUE

    def one_of(self, name: str, default: str, known: tuple[str, ...], fold: Callable[[str], str]) -> str:
        given = fold(self.text(name) or default)
        if given not in known:
            self.problems.append(f"{name} must be one of {', '.join(known)}; it is “{given}”.")
        return given

    def country(self, name: str, default: str) -> str:
        given = (self.text(name) or default).upper()
        if len(given) != 2 or not given.isalpha():
            self.problems.append(
                f"{name} must be a country code of two letters, such as ES or MX; it is “{given}”."
            )
        return given

    def timezone(self, name: str) -> str:
        """Whose days count; the machine's own zone when none is named, which is UTC on servers."""
        given = self.text(name)
        if not given:
            try:
                return tzlocal.get_localzone_name() or "UTC"
            except (ValueError, LookupError):  # the machine names two zones, or one that nobody knows
                return "UTC"
        try:
            ZoneInfo(given)
        except (ValueError, LookupError, OSError):  # an OSError is a folder of the zones' data: “America”
            self.problems.append(
                f"{name} must be the name of a time zone, such as America/Mexico_City or Europe/Madrid; "
                f"it is “{given}”."
            )
        return given

    def url(self, name: str, schemes: tuple[str, ...]) -> str:
        given = self.text(name)
        if not given:
            return ""
        try:
            parts = urlsplit(given)
            # Files have a path; everything else has a host, and a port that is a number or none.
            found = (
                bool(parts.path if parts.scheme in {"sqlite", "unix"} else parts.hostname) and parts.port != 0
            )
        except ValueError:
            found = False
        if not found or parts.scheme not in schemes:
            # The value itself may hold a password, so it is not repeated.
            self.problems.append(
                f"{name} must be a URL that begins with {' or '.join(s + '://' for s in schemes)}."
            )
        return given

    def metrics_token(self) -> str:
        given = self.text("METRICS_TOKEN")
        if given and (len(given) < 16 or not given.isascii() or not given.isprintable() or " " in given):
            self.problems.append(
                "METRICS_TOKEN must be 16 or more letters, digits and signs without spaces; "
                "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )
        return given

    def folder(self, name: str) -> Path | None:
        given = self.text(name)
        if not given:
            return None
        path = Path(given).resolve()
        if path.exists() and not path.is_dir():
            self.problems.append(f"{name} must be a folder; “{given}” is something else.")
        return path

    def hosts(self, name: str) -> tuple[str, ...]:
        given = tuple(item.strip().lower().strip("[]") for item in self.text(name).split(",") if item.strip())
        if any("/" in item or "*" in item for item in given):
            self.problems.append(
                f"{name} must be host names or addresses, comma-separated, without http:// or *."
            )
        return given

    def databases(self, instance: Path, services: tuple[str, ...]) -> dict[str, str]:
        common = self.database_url("DATABASE_URL")
        own = {bind: self.database_url(f"{bind.upper()}_DATABASE_URL") for bind in BINDS}
        needed = {"platform", *(services or BINDS[1:])}
        urls = {bind: own[bind] or common or f"sqlite:///{instance / bind}.sqlite" for bind in BINDS}
        if self.text("DYNO") and not common and not any(own.values()):
            self.problems.append(
                "DATABASE_URL is missing: a dyno's disk is empty after each restart; add Heroku Postgres."
            )
        if any(own.values()) and not common:
            # Half on servers and half in local files is never meant: that half would be lost with the machine.
            chosen = f" (SERVICES={','.join(services)})" if services else ""
            self.problems += [
                f"{bind.upper()}_DATABASE_URL is missing{chosen}: other databases are given, so give this one too, "
                "or DATABASE_URL for all."
                for bind in BINDS
                if bind in needed and not own[bind]
            ]
        return urls

    def database_url(self, name: str) -> str:
        given = self.url(name, ("postgres", "postgresql", "postgresql+psycopg", "sqlite"))
        for scheme in ("postgres://", "postgresql://"):
            if given.startswith(scheme):
                given = "postgresql+psycopg://" + given.removeprefix(scheme)
        if given.startswith("postgresql") and self.text("DYNO") and "sslmode=" not in given:
            given += ("&" if "?" in given else "?") + "sslmode=require"
        return given

    def redis(self) -> str | None:
        given = self.url("REDIS_URL", ("redis", "rediss", "unix"))
        if self.text("DYNO") and not given:
            self.problems.append(
                "REDIS_URL is missing: web and worker dynos share no disk; add Heroku Key-Value Store."
            )
        insecure = self.switch("REDIS_TLS_INSECURE", default=bool(self.text("DYNO")))
        if given.startswith("rediss://") and insecure and "ssl_cert_reqs=" not in given:
            # Heroku's key-value store has a self-signed certificate.
            given += ("&" if "?" in given else "?") + "ssl_cert_reqs=none"
        return given or None

    def mail(self) -> dict[str, Any]:
        tls, ssl = self.switch("MAIL_USE_TLS", default=False), self.switch("MAIL_USE_SSL", default=False)
        if tls and ssl:
            self.problems.append("MAIL_USE_TLS and MAIL_USE_SSL exclude each other; set one of them.")
        authority = self.text("MAIL_TLS_CA")
        if authority and not Path(authority).is_file():
            self.problems.append("MAIL_TLS_CA names a file that does not exist.")
        if bool(self.text("MAIL_USERNAME")) != bool(self.text("MAIL_PASSWORD")):
            self.problems.append("MAIL_USERNAME and MAIL_PASSWORD belong together; set both or neither.")
        return {
            "MAIL_SERVER": self.text("MAIL_SERVER") or None,
            "MAIL_PORT": self.number("MAIL_PORT", 465 if ssl else 587 if tls else 25, low=1, high=65535),
            "MAIL_USE_TLS": tls,
            "MAIL_USE_SSL": ssl,
            "MAIL_USERNAME": self.text("MAIL_USERNAME") or None,
            "MAIL_PASSWORD": self.text("MAIL_PASSWORD") or None,
            "MAIL_DEFAULT_SENDER": self.text("MAIL_DEFAULT_SENDER") or None,
            "MAIL_MAX_EMAILS": self.number("MAIL_MAX_EMAILS", 50, low=1, high=10_000),
            "MAIL_TIMEOUT": self.number("MAIL_TIMEOUT", 20, low=1, high=300),
            "MAIL_TLS_CA": authority or None,
            "MAIL_SUPPRESS_SEND": False,
            "MAIL_PROVIDERS": self.mail_providers(),
            "MAIL_RATES": self.mail_rates(),
        }

    def mail_providers(self) -> tuple[str, ...]:
        names = tuple(name.strip().lower() for name in self.text("MAIL_PROVIDERS").split(",") if name.strip())
        for name in sorted(set(names) - set(MAIL_PROVIDERS)):
            self.problems.append(
                f"MAIL_PROVIDERS names “{name}”, which is no way out; known are {', '.join(MAIL_PROVIDERS)}."
            )
        return names

    def mail_rates(self) -> dict[str, float]:
        rates: dict[str, float] = {}
        for item in self.text("MAIL_RATES").split(","):
            name, _, given = (part.strip().lower() for part in item.partition("="))
            if not item.strip():
                continue
            try:
                rate = float(given)
            except ValueError:
                rate = 0.0
            if name not in MAIL_PROVIDERS or not 0.01 <= rate <= 10_000:
                self.problems.append(
                    "MAIL_RATES must be like smtp=10,sendgrid=50: mails a second for each of "
                    f"{', '.join(MAIL_PROVIDERS)}."
                )
                break
            rates[name] = rate
        return rates

    def secret_key(self, instance: Path) -> str:
        given = self.text("SECRET_KEY")
        if given:
            if len(given) < 24:
                self.problems.append("SECRET_KEY is too short; use at least 24 random characters.")
            return given
        if any(
            self.text(name)
            for name in ("DYNO", "DATABASE_URL", *(f"{bind.upper()}_DATABASE_URL" for bind in BINDS))
        ):
            self.problems.append(
                "SECRET_KEY is missing: processes that share databases must share it; "
                "make one with: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
            )
            return "missing"
        return _kept_secret(instance)


def _kept_secret(instance: Path) -> str:
    """The generated key of a local installation, made at its first start."""
    path = instance / "secret_key"
    instance.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Several processes may start at once, and none may read a key that another is still writing.
        own = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
        with contextlib.suppress(FileExistsError):
            os.link(own, path)
        own.unlink()
    return path.read_text().strip()


URL_VARIABLES = (
    "TWILIO_API_URL", "META_GRAPH_URL", "AIRTABLE_ENDPOINT_URL", "SENDGRID_API_URL", "SES_ENDPOINT_URL",
)  # fmt: skip

PROVIDER_VARIABLES = (
    "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_WHATSAPP_FROM", "TWILIO_API_URL",
    "META_APP_SECRET", "META_VERIFY_TOKEN", "META_ACCESS_TOKEN", "META_PHONE_NUMBER_ID", "META_GRAPH_URL",
    "AIRTABLE_API_KEY", "AIRTABLE_ENDPOINT_URL",
    "SENDGRID_API_KEY", "SENDGRID_API_URL", "SENDGRID_WEBHOOK_KEY",
    "SES_REGION", "SES_ENDPOINT_URL", "SES_CONFIGURATION_SET", "SES_TOPIC_ARNS",
)  # fmt: skip
"""Credentials of the providers; typed into the admin instead, they are stored encrypted."""
