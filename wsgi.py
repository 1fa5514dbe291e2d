"""What a WSGI server runs: ``gunicorn wsgi:app``. Also what ``flask ops …`` finds."""

import sys

from app import create_app
from config import ConfigError

try:
    app = create_app()
except ConfigError as error:
    sys.exit(str(error))
