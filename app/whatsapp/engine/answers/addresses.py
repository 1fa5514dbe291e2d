"""E-mail addresses and phone numbers, in the one form in which everything else compares them."""

from __future__ import annotations

import re

import phonenumbers
from email_validator import EmailNotValidError, validate_email

CANDIDATE = re.compile(r"[^\s<>()\[\],;:\"]+@[^\s<>()\[\],;:\"]+")
MAX_PHONE_CHARS = 60


def read_email(text: str) -> str | None:
    """The one address in the text, normalised; its syntax is checked, not whether it exists."""
    found = CANDIDATE.findall(text)
    if len(found) != 1:
        return None
    try:
        checked = validate_email(
            found[0].rstrip(".!?…"),
            check_deliverability=False,
            strict=True,  # also the 64 characters before the @ that SMTP allows
            allow_smtputf8=False,  # few mailboxes have accents; a typed one is nearly always a slip
        )
    except EmailNotValidError:
        return None
    return checked.normalized


def read_phone(text: str, *, country: str | None = None, contact_phone: object = None) -> str | None:
    """The number in E.164; without a prefix it is of the country (ISO 3166), else of the contact's own
    country."""
    if len(text) > MAX_PHONE_CHARS:
        return None
    for region in (country, _country_of(contact_phone)):
        try:
            number = phonenumbers.parse(text, region.upper() if region else None)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    return None


def _country_of(phone: object) -> str | None:
    if not isinstance(phone, str) or not phone.startswith("+"):
        return None
    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(phone))
    except phonenumbers.NumberParseException:
        return None
