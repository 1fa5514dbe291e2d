"""The REST door of the email service: mails, templates, and who gets none."""

from app.email.api import emails, suppressions, templates
from app.email.api.blueprint import bp

__all__ = ["bp", "emails", "suppressions", "templates"]
