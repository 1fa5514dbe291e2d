"""What Prometheus reads: counters of all processes, and the state of queues, databases and providers.

Counters (app.kit.telemetry) live in the processes that count and meet in a folder (`shared`). State is asked when
somebody scrapes (`state`): the kit asks for its own (`own`), and each service brings a `metrics` module with a tuple
PARTS. docs/metrics.md lists all of it; a test compares.
"""

from app.kit.metrics.door import bp, serve
from app.kit.metrics.shared import join, share
from app.kit.metrics.state import (
    Gauge,
    Part,
    Sample,
    breakers_part,
    distinct,
    due_part,
    init_metrics,
    last_day,
)

__all__ = [
    "Gauge",
    "Part",
    "Sample",
    "bp",
    "breakers_part",
    "distinct",
    "due_part",
    "init_metrics",
    "join",
    "last_day",
    "serve",
    "share",
]
