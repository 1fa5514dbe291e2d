"""What runs beside the web: ``python worker.py`` drains all queues, ``python worker.py relay`` is the relay.

``python worker.py leads email`` drains only those queues.
"""

import sys

from app import create_app
from app.kit import relay, work
from config import ConfigError

if __name__ == "__main__":
    names = sys.argv[1:]
    try:
        app = create_app(role="relay" if names == ["relay"] else "worker")
    except ConfigError as error:
        sys.exit(str(error))
    if names == ["relay"]:
        relay.run(app)
    else:
        work.run(app, names)
