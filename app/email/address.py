"""What counts as an e-mail address. Pure: no DNS here, so that a form or a flow gets its answer at once.

A wrong address that gets through costs a bounce, and bounces cost the sender's reputation at every provider.
"""

from __future__ import annotations

from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email

from app.contracts.problems import Problem, problem


@dataclass(frozen=True, kw_only=True)
class Address:
    """An address in the two forms we need.

    normalized: as stored and shown (Unicode domain); ascii: as written into the envelope and the headers.
    """

    normalized: str
    ascii: str

    @property
    def domain(self) -> str:
        """The ASCII (punycode) domain."""
        return self.ascii.rpartition("@")[2]


def parse_address(text: object, where: str = "/to") -> Address | Problem:
    """Read one address, without a display name; strict syntax (RFC 5321 lengths included).

    Local parts outside ASCII are refused: they need SMTPUTF8 on the whole way, which SES does not offer and many
    servers bounce. Special-use domains (localhost, .test, .invalid) are refused too; example.com is syntactically
    fine, which keeps documentation and demo data usable.
    """
    if not isinstance(text, str) or not text.strip():
        return problem(where, "missing", "An e-mail address is needed.")
    try:
        found = validate_email(text.strip(), check_deliverability=False, strict=True, allow_smtputf8=False)
    except EmailNotValidError:  # its sentences are English only
        return problem(where, "invalid_address", "This is not an e-mail address that mail can be sent to.")
    assert found.ascii_email is not None  # guaranteed by allow_smtputf8=False
    return Address(normalized=found.normalized, ascii=found.ascii_email)
