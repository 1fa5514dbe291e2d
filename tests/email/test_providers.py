"""Every way out passes the same suite; SMTP against a real server that misbehaves as told."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from flask import Flask

from app.email.mime import Letter
from app.email.providers import MailSender, Result
from app.email.providers.outbox import OutboxSender
from app.email.providers.sendgrid import SendGridSender, SendGridSettings
from app.email.providers.ses import SesSender, SesSettings
from app.email.providers.smtp import SmtpSender, SmtpSettings
from app.email.providers.ways import WAYS, Way
from app.kit.errors import Misconfigured, Permanent, RateLimited, Temporary, Unknown
from config import MAIL_PROVIDERS, PROVIDER_VARIABLES, Config
from tests.email.amazon import amazon
from tests.fakes.ports import free_port
from tests.fakes.sendgrid_server import API_KEY, SendGridServer
from tests.fakes.smtp_server import PASSWORD, USERNAME, SmtpScript, smtp_server

IMPATIENT = 0.3
"""Time-out of the tests that wait for one, seconds."""


def letter(number: int = 1, **changes: object) -> Letter:
    return Letter(
        **{
            "ref": f"0198f000-0000-7000-8000-{number:012}",
            "sender": "Embudo <ventas@example.com>",
            "to": f"cliente{number}@example.com",
            "subject": "Hola, qué tal",
            "text": "Línea uno\n.\n.punto\n" + "palabra " * 500,
            "html": "<p>" + "€" * 3000 + "</p>",
            "date": datetime(2030, 1, 31, tzinfo=UTC),
        }
        | changes
    )


class Diary(list[str]):
    """Remembers which letters were about to be handed over."""

    def __call__(self, ref: str) -> None:
        self.append(ref)


def settings(script: SmtpScript, **changes: object) -> SmtpSettings:
    return SmtpSettings(**{"host": "127.0.0.1", "port": script.port, "timeout": 5.0} | changes)


@contextmanager
def sending(config: SmtpSettings) -> Iterator[Callable[..., list[Result]]]:
    sender = SmtpSender(config)
    try:
        yield lambda *letters, diary=None: list(sender.send(letters, diary if diary is not None else Diary()))
    finally:
        sender.close()


@pytest.fixture
def server() -> Iterator[SmtpScript]:
    with smtp_server() as script:
        yield script


# An adapter with something real, or as strict, on the other side.


@contextmanager
def _by_outbox() -> Iterator[MailSender]:
    yield OutboxSender()


@contextmanager
def _by_smtp() -> Iterator[MailSender]:
    with smtp_server() as server:
        made = SmtpSender(settings(server))
        yield made
        made.close()


@contextmanager
def _by_sendgrid() -> Iterator[MailSender]:
    with SendGridServer() as server:
        yield SendGridSender(SendGridSettings(api_key=API_KEY, url=server.url))


@contextmanager
def _by_ses() -> Iterator[MailSender]:
    with amazon() as client:
        yield SesSender(SesSettings(region="eu-west-1"), client)


CASES = {"smtp": _by_smtp, "outbox": _by_outbox, "sendgrid": _by_sendgrid, "ses": _by_ses}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def sender(request: pytest.FixtureRequest) -> Iterator[MailSender]:
    with request.param() as made:
        yield made


def test_every_way_out_is_a_case_and_is_known_to_the_configuration() -> None:
    assert tuple(WAYS) == MAIL_PROVIDERS
    assert set(CASES) == {*WAYS, "outbox"}
    by_aws_itself = {
        "SES_ACCESS_KEY_ID",
        "SES_SECRET_ACCESS_KEY",
    }  # in the environment under names of AWS's own
    read = set(Config.from_env({"SECRET_KEY": "x" * 24}).mail) | set(PROVIDER_VARIABLES)
    assert {variable.name for way in WAYS.values() for variable in way.variables} <= read | by_aws_itself


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_way_that_tells_of_its_mails_has_a_door_and_says_what_proves_it(app: Flask, way: Way) -> None:
    doors = {rule.rule for rule in app.url_map.iter_rules()}
    assert (way.read is not None) == bool(way.notices) == (f"/email/events/{way.name}" in doors)
    assert not way.notices or way.notices in {variable.name for variable in way.variables}


# what every way out does


def test_each_letter_of_a_batch_gets_its_result(sender: MailSender) -> None:
    results = list(sender.send([letter(n) for n in range(1, 4)], Diary()))

    assert [(result.ref, result.error) for result in results] == [(letter(n).ref, None) for n in range(1, 4)]
    assert all(result.provider_message_id for result in results)


def test_an_adapter_opens_before_it_sends(sender: MailSender) -> None:
    sender.open()

    (result,) = sender.send([letter()], Diary())

    assert result.error is None


def test_a_letter_that_cannot_be_built_fails_alone(sender: MailSender) -> None:
    diary = Diary()

    bad, good = list(sender.send([letter(1, subject="a\r\nBcc: evil@example.com"), letter(2)], diary))

    assert isinstance(bad.error, Permanent)
    assert good.error is None
    assert letter(1).ref not in diary


def test_results_come_one_by_one(sender: MailSender) -> None:
    diary = Diary()
    results = sender.send((letter(n) for n in range(1, 4)), diary)

    next(results)

    assert letter(2).ref not in diary


# SMTP


def test_the_server_gets_what_was_written(server: SmtpScript) -> None:
    with sending(settings(server)) as send:
        send(letter())

    sender_, recipient, message = server.received[0]
    assert (sender_, recipient) == ("ventas@example.com", "cliente1@example.com")
    assert message["Subject"] == "Hola, qué tal"
    assert message.get_body(("plain",)).get_content().splitlines()[:3] == ["Línea uno", ".", ".punto"]
    assert message.get_body(("html",)).get_content().strip() == letter().html


def test_a_batch_shares_one_connection_and_renews_it_after_max_emails(server: SmtpScript) -> None:
    with sending(settings(server)) as send:
        send(*(letter(n) for n in range(20)))
    assert server.connections == 1

    with sending(settings(server, max_emails=2)) as send:
        send(*(letter(n) for n in range(5)))
    assert server.connections == 1 + 3
    assert len(server.received) == 25


@pytest.mark.parametrize(
    ("where", "answer", "kind"),
    [
        ("rcpt", "550 5.1.1 <cliente1@example.com>: no such user", Permanent),
        ("rcpt", "450 4.2.1 greylisted", Temporary),
        ("rcpt", "452 4.5.3 too many recipients", Temporary),
        ("rcpt", "450 4.2.2 mailbox full, try again later", Temporary),
        ("rcpt", "451 4.2.1 too many messages for this mailbox", Temporary),
        ("rcpt", "421 4.7.28 unusual rate of mail", RateLimited),
        ("rcpt", "450 4.7.1 Rate limit exceeded", RateLimited),
        ("mail", "450 4.7.1 too many messages from you, try again later", RateLimited),
        ("data", "452 4.2.2 mailbox full, try again later", Temporary),
        ("rcpt", "554 5.7.1 relay access denied", Misconfigured),
        ("rcpt", "421 4.3.2 shutting down", Temporary),
        ("mail", "553 5.7.1 sender not allowed", Misconfigured),
        ("mail", "552 5.3.4 too big", Permanent),
        ("mail", "451 4.3.0 later", Temporary),
        ("data", "554 5.6.0 spam", Permanent),
        ("data", "451 4.3.0 local error", Temporary),
        ("data", "454 Throttling failure: Maximum sending rate exceeded.", RateLimited),
    ],
)
def test_a_refusal_is_understood_and_the_next_letter_still_goes(
    server: SmtpScript, where: str, answer: str, kind: type[Exception]
) -> None:
    getattr(server, where).append(answer)

    with sending(settings(server)) as send:
        refused, sent = send(letter(1), letter(2))

    assert type(refused.error) is kind
    assert refused.error.code == answer[:3]
    assert "example.com" not in refused.error.detail
    assert sent.error is None
    assert server.recipients() == ["cliente2@example.com"]


def test_only_letters_that_may_have_left_are_announced(server: SmtpScript) -> None:
    server.rcpt.append("550 no")
    diary = Diary()

    with sending(settings(server)) as send:
        send(letter(1), letter(2), diary=diary)

    assert diary == [letter(2).ref]


def test_a_server_that_never_answers_after_the_message_leaves_it_unknown(server: SmtpScript) -> None:
    server.data.append("stall")
    diary = Diary()

    with sending(settings(server, timeout=IMPATIENT)) as send:
        unknown, sent = send(letter(1), letter(2), diary=diary)

    assert type(unknown.error) is Unknown
    assert sent.error is None
    assert diary == [letter(1).ref, letter(2).ref]


def test_a_connection_cut_after_the_message_leaves_it_unknown(server: SmtpScript) -> None:
    server.data.append("drop")

    with sending(settings(server)) as send:
        unknown, sent = send(letter(1), letter(2))

    assert type(unknown.error) is Unknown
    assert sent.error is None
    assert server.recipients() == ["cliente1@example.com", "cliente2@example.com"]


def test_a_connection_cut_before_the_message_is_no_loss(server: SmtpScript) -> None:
    server.rcpt += ["250 OK", "drop"]

    with sending(settings(server)) as send:
        first, second = send(letter(1), letter(2))

    assert (first.error, second.error) == (None, None)  # tried again on a new connection
    assert server.recipients() == ["cliente1@example.com", "cliente2@example.com"]
    assert server.connections == 2


def test_a_server_that_is_not_there_is_a_temporary_trouble() -> None:
    with (
        sending(SmtpSettings(host="127.0.0.1", port=free_port())) as send,
        pytest.raises(Temporary) as caught,
    ):
        send(letter())

    assert type(caught.value) is Temporary


def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        config = SmtpSettings(host="127.0.0.1", port=mute.getsockname()[1], timeout=IMPATIENT)

        with sending(config) as send, pytest.raises(Temporary):
            send(letter())


# TLS and passwords


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A self-signed certificate for 127.0.0.1: (certificate file, key file)."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = Path(folder / "cert.pem"), Path(folder / "key.pem")
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(paths[0]), str(paths[1])


@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "TLS from the start"])
def test_tls_is_verified_against_the_given_authority(certificate: tuple[str, str], implicit: bool) -> None:
    with smtp_server(certificate=certificate, implicit_tls=implicit, auth=not implicit) as script:
        login = {} if implicit else {"username": USERNAME, "password": PASSWORD}
        config = settings(script, use_tls=not implicit, use_ssl=implicit, tls_ca=certificate[0], **login)

        with sending(config) as send:
            (result,) = send(letter())

    assert result.error is None
    assert script.recipients() == ["cliente1@example.com"]


@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "TLS from the start"])
def test_a_certificate_that_nobody_vouches_for_is_refused(
    certificate: tuple[str, str], implicit: bool
) -> None:
    with smtp_server(certificate=certificate, implicit_tls=implicit) as script:
        config = settings(script, use_tls=not implicit, use_ssl=implicit)

        with sending(config) as send, pytest.raises(Misconfigured) as caught:
            send(letter())

    assert caught.value.code == "certificate"
    assert script.received == []


def test_a_wrong_password_is_our_fault_and_not_the_letters(certificate: tuple[str, str]) -> None:
    with smtp_server(certificate=certificate, auth=True) as script:
        config = settings(script, use_tls=True, tls_ca=certificate[0], username=USERNAME, password="wrong")

        with sending(config) as send, pytest.raises(Misconfigured) as caught:
            send(letter())

    assert caught.value.code == "535"


def test_a_server_without_starttls_is_not_spoken_to_in_clear(server: SmtpScript) -> None:
    with sending(settings(server, use_tls=True)) as send, pytest.raises(Misconfigured):
        send(letter())

    assert server.received == []


def test_a_missing_authority_file_is_named() -> None:
    config = SmtpSettings(host="127.0.0.1", port=9, tls_ca="/nowhere.pem")

    with sending(config) as send, pytest.raises(Misconfigured, match="MAIL_TLS_CA"):
        send(letter())


def test_settings_are_flask_mails() -> None:
    read = SmtpSettings.from_config(
        {
            "MAIL_SERVER": "smtp.example.com",
            "MAIL_PORT": 587,
            "MAIL_USE_TLS": True,
            "MAIL_USERNAME": "u",
            "MAIL_PASSWORD": "p",
            "MAIL_DEFAULT_SENDER": "Embudo <ventas@example.com>",
            "MAIL_MAX_EMAILS": 7,
        }
    )

    assert (read.host, read.port, read.use_tls, read.use_ssl) == ("smtp.example.com", 587, True, False)
    assert (read.username, read.password, read.max_emails, read.helo) == ("u", "p", 7, "example.com")
