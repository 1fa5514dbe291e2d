"""The environment: read once, refused early, every mistake at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from config import Config, ConfigError

ROOT = Path(__file__).resolve().parents[2]
SECRET = "a secret of the tests, long enough to be one"


def read(tmp_path: Path, **environ: str) -> Config:
    return Config.from_env({"EMBUDO_INSTANCE": str(tmp_path / "instance"), **environ})


def refused(tmp_path: Path, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, **environ)
    for problem in caught.value.problems:
        assert problem in str(caught.value)
    return caught.value.problems


def test_an_empty_environment_is_enough(tmp_path: Path) -> None:
    config = read(tmp_path)
    assert config.databases["leads"] == f"sqlite:///{tmp_path}/instance/leads.sqlite"
    assert len(set(config.databases.values())) == len(config.databases)
    assert (config.redis_url, config.port, config.host, config.services) == (None, 8080, "127.0.0.1", ())


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    problems = refused(
        tmp_path,
        PORT="eighty",
        SERVICES="leads,leds",
        PUBLIC_URL="crm.example.com",
        REDIS_URL="localhost:6379",
        SECRET_KEY="short",
        ADMIN_PASSWORD="short",
        LOG_FORMAT="yaml",
        SIMULATOR="perhaps",
        DEFAULT_COUNTRY="Spain",
        TIMEZONE="Mexico City",
        WEB_CONCURRENCY="0",
        MAIL_USE_TLS="on",
        MAIL_USE_SSL="on",
        MAIL_USERNAME="me",
        TWILIO_API_URL="nowhere",
    )
    for name in (
        *(
            "PORT",
            "SERVICES",
            "PUBLIC_URL",
            "REDIS_URL",
            "SECRET_KEY",
            "ADMIN_PASSWORD",
            "LOG_FORMAT",
            "SIMULATOR",
        ),
        *(
            "DEFAULT_COUNTRY",
            "TIMEZONE",
            "WEB_CONCURRENCY",
            "MAIL_USE_TLS",
            "MAIL_USERNAME",
            "TWILIO_API_URL",
        ),
    ):
        assert any(problem.startswith(name) for problem in problems), f"{name} in {problems}"
    assert len(problems) == 14


@pytest.mark.parametrize("name", ["UTC", "America/Mexico_City", "Asia/Kolkata", "Europe/Madrid"])
def test_a_time_zone_is_one_of_the_iana(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, TIMEZONE=name).to_flask()["TIMEZONE"] == name


def test_without_a_time_zone_it_is_the_machine_s(tmp_path: Path) -> None:
    program = "from config import Config; print(Config.from_env({'EMBUDO_INSTANCE': '.'}).timezone)"
    machine = {**os.environ, "TZ": "Asia/Kolkata", "PYTHONPATH": str(ROOT)}
    said = subprocess.check_output([sys.executable, "-c", program], env=machine, cwd=tmp_path, text=True)
    assert said == "Asia/Kolkata\n"


@pytest.mark.parametrize("name", ["GMT+25", "America", "America/México", "../UTC", "/etc/passwd", "-6"])
def test_a_time_zone_that_is_none_is_refused_with_an_example(tmp_path: Path, name: str) -> None:
    assert refused(tmp_path, TIMEZONE=name) == [
        f"TIMEZONE must be the name of a time zone, such as America/Mexico_City or Europe/Madrid; it is “{name}”."
    ]


@pytest.mark.parametrize("port", ["0", "65536", "-1", "8080.5", "²", "８０８０"])
def test_a_port_is_a_number_that_can_be_one(tmp_path: Path, port: str) -> None:
    assert refused(tmp_path, PORT=port) == [f"PORT must be a whole number from 1 to 65535; it is “{port}”."]


@pytest.mark.parametrize(
    "url",
    ["mysql://me:hidden@host/db", "postgresql:///hidden", "postgresql://me:hidden@host:port/db", "hidden"],
)
def test_a_database_url_that_is_none_is_refused_without_repeating_it(tmp_path: Path, url: str) -> None:
    (problem,) = refused(tmp_path, SECRET_KEY=SECRET, DATABASE_URL=url)
    assert problem.startswith("DATABASE_URL must be a URL that begins with postgres://")
    assert "hidden" not in problem


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_reaches_the_driver_we_have(tmp_path: Path, scheme: str) -> None:
    config = read(tmp_path, SECRET_KEY=SECRET, DATABASE_URL=f"{scheme}://me:pass@host:5432/crm")
    assert set(config.databases.values()) == {"postgresql+psycopg://me:pass@host:5432/crm"}


def test_a_service_may_have_its_own_database(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        SECRET_KEY=SECRET,
        DATABASE_URL="postgres://host/all",
        LEADS_DATABASE_URL="postgres://other/leads",
    )
    assert config.databases["leads"] == "postgresql+psycopg://other/leads"
    assert config.databases["email"] == "postgresql+psycopg://host/all"


def test_databases_given_in_part_name_those_that_are_missing(tmp_path: Path) -> None:
    problems = refused(
        tmp_path, SECRET_KEY=SECRET, SERVICES="leads", PLATFORM_DATABASE_URL="postgres://host/platform"
    )
    assert len(problems) == 1
    assert problems[0].startswith("LEADS_DATABASE_URL is missing (SERVICES=leads)")


def test_databases_of_services_that_run_elsewhere_are_not_asked_for(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        SECRET_KEY=SECRET,
        SERVICES="leads",
        PLATFORM_DATABASE_URL="postgres://host/platform",
        LEADS_DATABASE_URL="postgres://host/leads",
    )
    assert config.services == ("leads",)


def test_a_shared_database_needs_a_shared_secret(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, DATABASE_URL="postgres://host/all")
    assert problem.startswith("SECRET_KEY is missing")


def test_heroku_s_addresses_are_understood(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        DYNO="web.1",
        SECRET_KEY=SECRET,
        DATABASE_URL="postgres://me:pass@host:5432/db",
        REDIS_URL="rediss://:pass@host:6380",
    )
    assert config.databases["platform"] == "postgresql+psycopg://me:pass@host:5432/db?sslmode=require"
    assert config.redis_url == "rediss://:pass@host:6380?ssl_cert_reqs=none"
    assert (config.host, config.trusted_proxies) == ("0.0.0.0", 1)


def test_a_dyno_without_its_add_ons_says_which(tmp_path: Path) -> None:
    problems = refused(tmp_path, DYNO="web.1")
    assert {problem.partition(" ")[0] for problem in problems} == {"DATABASE_URL", "REDIS_URL", "SECRET_KEY"}


def test_elsewhere_certificates_are_checked(tmp_path: Path) -> None:
    assert read(tmp_path, REDIS_URL="rediss://host:6380").redis_url == "rediss://host:6380"
    insecure = read(tmp_path, REDIS_URL="rediss://host:6380/1?a=b", REDIS_TLS_INSECURE="1").redis_url
    assert insecure == "rediss://host:6380/1?a=b&ssl_cert_reqs=none"


def test_the_generated_secret_is_kept_private_and_stays(tmp_path: Path) -> None:
    first = read(tmp_path).secret_key
    file = tmp_path / "instance" / "secret_key"
    assert len(first) >= 48
    assert file.stat().st_mode & 0o777 == 0o600
    assert read(tmp_path).secret_key == first
    assert [path.name for path in (tmp_path / "instance").iterdir()] == ["secret_key"]


def test_nothing_secret_shows_when_the_configuration_is_printed(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        SECRET_KEY=SECRET,
        ADMIN_PASSWORD="correct horse battery",
        DATABASE_URL="postgres://me:dbpass@host/db",
        REDIS_URL="redis://:redispass@host",
        MAIL_USERNAME="me",
        MAIL_PASSWORD="mailpass",
        TWILIO_AUTH_TOKEN="twiliotoken",
    )
    for secret in (SECRET, "correct horse", "dbpass", "redispass", "mailpass", "twiliotoken"):
        assert secret not in repr(config)


class Recording(Mapping[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values_ = values
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


def example() -> dict[str, str]:
    text = (ROOT / ".env.example").read_text()
    return dict(re.findall(r"^# ([A-Z][A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_env_example_lists_exactly_what_is_read(tmp_path: Path) -> None:
    environ = Recording({"EMBUDO_INSTANCE": str(tmp_path)})
    Config.from_env(environ)
    given_by_the_platform = {"DYNO"}
    assert set(example()) == environ.asked - given_by_the_platform


def test_the_values_in_env_example_are_valid(tmp_path: Path) -> None:
    values = example() | {"EMBUDO_INSTANCE": str(tmp_path), "SECRET_KEY": SECRET, "MAIL_USE_SSL": "off"}
    values |= {"PLATFORM_DATABASE_URL": values["DATABASE_URL"]}
    config = Config.from_env(values)
    assert urlsplit(config.public_url).hostname == "crm.example.com"
    assert config.mail["MAIL_PORT"] == 587
