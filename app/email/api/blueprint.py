"""The one blueprint of the email service's REST door."""

from app.kit.rest import api_blueprint

bp = api_blueprint("email")
