"""How the web processes serve, the same under `make run`, a Procfile runner and in containers.

GUNICORN_CMD_ARGS and the command line win over this file.
"""

import gc
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from gunicorn.glogging import Logger  # noqa: E402

from config import Config, ConfigError  # noqa: E402 (gunicorn does not look for modules beside the application)

try:
    _config = Config.from_env()
except ConfigError as error:
    sys.exit(str(error))

wsgi_app = "wsgi:app"
chdir = str(ROOT)
bind = f"{_config.host}:{_config.port}"
worker_class = "gthread"
workers = _config.web_concurrency
threads = _config.web_threads
reuse_port = True  # without it keep-alive clients can all stick to one worker, and the others idle
preload_app = True  # a broken start is said once, by the parent; and workers share its memory
control_socket_disable = True  # its place would be in the home directory, which may be read-only or shared
# The heartbeat file of a worker: on a busy disk its touch would block.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
timeout = 30
graceful_timeout = 20  # platforms kill after 30 seconds
keepalive = 95  # longer than the 90 seconds after which Heroku's router drops an idle connection itself
accesslog = None  # the application logs each request as an event with its id
errorlog = "-"
loglevel = "warning"


class logger_class(Logger):  # noqa: N801 (a setting's name)
    """What the server itself says becomes lines like all others, masked by the same rules."""

    def setup(self, cfg):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """Leave the lines to the application's logging; before it is loaded they go out as they are."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        if not self.error_log.filters:
            self.error_log.addFilter(_without_the_request)


def _without_the_request(record):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    from app.kit import telemetry  # here, so that its counters begin in the folder that on_starting makes

    return telemetry.web_server_said(record)


def on_starting(server):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG001
    """Before any worker is there: what they count comes together in one folder."""
    from app.kit import metrics

    metrics.join(_config.to_flask())


def pre_fork(server, worker):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG001
    """The collector would write into pages that the workers share with their parent."""
    gc.collect()
    gc.freeze()


def post_fork(server, worker):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG001
    """A connection must not be used by two processes: forget what the parent may have opened."""
    from app.kit.db import dispose_engines

    application = worker.app.wsgi()
    if "sqlalchemy" in getattr(
        application, "extensions", {}
    ):  # the benchmarks' floor runs under this file too
        dispose_engines(application, close=False)
