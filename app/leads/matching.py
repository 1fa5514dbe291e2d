"""Who is the same person: phones, e-mail addresses and names in the one form in which they can be compared.

WhatsApp, web forms and people write the same telephone number in many ways, and three countries write mobile numbers
in two (WhatsApp's own id of a Mexican mobile still carries the 1 that E.164 dropped in 2019). Were each door to
normalise in its own way, every second conversation would make a second lead of somebody who is known.

PURE: no Flask, no database. Facts about numbering: libphonenumber's metadata and the ITU notices named below.
"""

from __future__ import annotations

import re
import unicodedata

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat, ValidationResult

from app.contracts.problems import Problem, problem
from app.kit.storable import storable

# Longest text we try to read as a telephone number: E.164 has 15 digits, people add words and extensions.
PHONE_TEXT = 60
# Shortest run of digits that may be an international number written without its plus sign.
BARE_INTERNATIONAL = 10
# Longest key; lower-casing and folding may lengthen a text ("İ"), the column does not grow with it.
KEY_LENGTH = 254
# Prefixes that programs put before a number: Twilio's channel name, RFC 3966.
_SCHEME = re.compile(r"^\s*(?:whatsapp|tel|sms|phone)\s*:\s*", re.IGNORECASE)
# "+44 (0)20 …": the trunk zero in brackets is only for callers inside the country.
_TRUNK_ZERO = re.compile(r"^(\s*(?:\+|00)[\d\s.-]{1,6})\(\s*0\s*\)")
# Several numbers in one field: only the first is read.
_SEVERAL = re.compile(r"\s*(?:[/;,|\n]|\s(?:or|o|y|and)\s)\s*")
# "600 000 012 (mobile)"
_WORDS_AFTER = re.compile(r"\D+$")
# Mexico's prefixes for calling a mobile, abolished in August 2019, still printed on cards.
_MEXICAN_PREFIX = re.compile(r"^(?:04[45])")
# Invisible marks that copying from chats brings along: direction marks, zero-width space, byte order mark.
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def read_phone(text: str, country: str = "ES", *, where: str = "/phone") -> str | Problem:
    """The number in E.164 (``+34600000012``), or the problem.

    country: ISO 3166 code by which a national number is read. Extensions and notes after the number are dropped.
    A number in international form need only have a possible length, because ranges are opened faster than the
    metadata is; a national one must be valid, else a mistyped digit would make another country's number of it.
    """
    raw = _INVISIBLE.sub("", text).strip()
    if not raw or len(raw) > PHONE_TEXT or not any(ch.isdigit() for ch in raw):
        return _no_phone(where, text)
    raw = _TRUNK_ZERO.sub(r"\1", _SCHEME.sub("", raw))
    for piece in dict.fromkeys((raw, _SEVERAL.split(raw)[0], _WORDS_AFTER.sub("", raw))):
        number = _parse(piece, country.upper())
        if number is not None:
            return phonenumbers.format_number(number, PhoneNumberFormat.E164)
    return _no_phone(where, text)


def region_of(phone: str | None) -> str | None:
    """The country (ISO 3166) of an E.164 number, by which its owner's other numbers are read; None when unknown."""
    number = _try(phone, None) if phone else None
    return phonenumbers.region_code_for_number(number) if number is not None else None


def match_key(phone: str) -> str:
    """The digits by which two E.164 numbers of one subscriber are equal.

    Argentina: the 9 after 54 only marks a mobile and is often left out. Mexico and Brazil are already mended by
    read_phone; numbers that came another way are mended here too.
    """
    digits = re.sub(r"\D", "", phone)
    digits = _mended(digits)
    if digits.startswith("549") and len(digits) == 13:
        return "54" + digits[3:]
    return digits


def read_email(text: str, *, where: str = "/email") -> str | Problem:
    """The address with its domain lower-cased, or the problem. Syntax only: no DNS."""
    try:
        found = validate_email(_INVISIBLE.sub("", text).strip(), check_deliverability=False)
    except EmailNotValidError:
        return problem(where, "invalid_email", "%(value)s is not an e-mail address.", value=_short(text))
    return found.normalized


def email_key(address: str) -> str:
    """The form by which two addresses are the same mailbox to us.

    RFC 5321 lets a server tell Ann@ from ann@; none that people use does, and they type both.
    """
    return address.lower()[:KEY_LENGTH]


def read_name(text: str) -> str:
    """A name without control characters, its white space trimmed and collapsed."""
    return " ".join(_INVISIBLE.sub("", storable(text)).split())


def fold(text: str) -> str:
    """Lower case without accents: the form in which names are searched and sorted."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(ch for ch in plain if not unicodedata.combining(ch)).split())


def search_text(*parts: str | None) -> str:
    """One folded line in which the list's search looks; a phone is there with and without its plus sign."""
    return " ".join(filter(None, (fold(part) for part in parts if part)))


def _parse(text: str, country: str) -> PhoneNumber | None:
    digits = re.sub(r"\D", "", text)
    if country == "MX":
        text = _MEXICAN_PREFIX.sub("", text.strip())
    international = text.lstrip().startswith(("+", "00", "\uff0b"))
    number = _try(text, country)
    if number is not None and (_possible(number) if international else phonenumbers.is_valid_number(number)):
        return number
    if len(digits) < BARE_INTERNATIONAL or text.lstrip().startswith("0"):
        return None
    number = _try("+" + digits, None)  # "5491123456789" as WhatsApp writes it
    return number if number is not None and phonenumbers.is_valid_number(number) else None


def _try(text: str, country: str | None) -> PhoneNumber | None:
    try:
        number = phonenumbers.parse(text, country)
    except NumberParseException:
        return None
    digits = phonenumbers.format_number(number, PhoneNumberFormat.E164)[1:]
    mended = _mended(digits)
    return phonenumbers.parse("+" + mended, None) if mended != digits else number


def _possible(number: PhoneNumber) -> bool:
    return phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE


def _mended(digits: str) -> str:
    """Two outdated forms of mobile numbers in today's: the ids of older WhatsApp accounts still have them."""
    if digits.startswith("521") and len(digits) == 13:  # Mexico: no 1 after 52 since August 2019
        return "52" + digits[3:]
    # Brazil: mobiles got a leading 9 between 2012 and 2016; those of eight digits began with 6 to 9
    if digits.startswith("55") and len(digits) == 12 and digits[4] in "6789":
        return digits[:4] + "9" + digits[4:]
    return digits


def _no_phone(where: str, text: str) -> Problem:
    return problem(where, "invalid_phone", "%(value)s is not a telephone number.", value=_short(text))


def _short(text: str) -> str:
    text = storable(text)
    return text if len(text) <= PHONE_TEXT else text[:PHONE_TEXT] + "…"
