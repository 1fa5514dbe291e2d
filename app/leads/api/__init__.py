"""The REST door of the leads service."""

from app.leads.api.leads import bp

__all__ = ["bp"]
