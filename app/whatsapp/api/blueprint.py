"""The blueprint that the modules of this package hang their routes on."""

from __future__ import annotations

from app.kit.rest import api_blueprint

bp = api_blueprint("whatsapp")
