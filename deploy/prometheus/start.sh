#!/bin/sh
# Writes METRICS_TOKEN where prometheus.yml looks for it, since Prometheus reads no environment, and becomes Prometheus:
#   start.sh FILE [argument …]    FILE: where the token is to be; the arguments go to Prometheus
# With PROMETHEUS=true (any program) only the file is made.
set -eu
if [ -z "${METRICS_TOKEN:-}" ]; then
    echo "start.sh: METRICS_TOKEN is empty but needed" >&2
    exit 1
fi
umask 077
printf %s "$METRICS_TOKEN" >"$1"
shift
exec "${PROMETHEUS:-prometheus}" "$@"
