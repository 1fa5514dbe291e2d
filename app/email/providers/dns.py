"""Whether a domain takes mail at all. Asked only with EMAIL_CHECK_DNS=1: not every network has a DNS to ask."""

from __future__ import annotations

from email_validator import EmailUndeliverableError, caching_resolver, validate_email

DNS_SECONDS = 3
"""How long a person waits for the DNS at most."""

_resolver = None


def accepts_mail(domain: str) -> bool | None:
    """False when the DNS says that no mail can be delivered there; None when it says nothing in time."""
    global _resolver  # made at the first use, since it reads resolv.conf; its cache is the point
    if _resolver is None:
        _resolver = caching_resolver(timeout=DNS_SECONDS)
    try:
        found = validate_email(f"postmaster@{domain}", check_deliverability=True, dns_resolver=_resolver)
    except EmailUndeliverableError:
        return False
    return None if getattr(found, "unknown_deliverability", None) else True
