"""What runs beside the web: ``python worker.py`` drains all queues, ``python worker.py relay`` is the relay.

``python worker.py leads email`` drains only those queues.
"""

import sys

from app import create_app
from app.kit import relay, work

if __name__ == "__main__":
    names = sys.argv[1:]
    if names == ["relay"]:
        relay.run(create_app(role="relay"))
    else:
        work.run(create_app(role="worker"), names)
