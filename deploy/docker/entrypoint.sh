#!/bin/sh
# Runs a part of the product by its name in the Procfile (web, worker, relay, release), so that a container runs what
# Heroku runs. Further words are added: `worker email`. Anything else is run as it stands: `flask ops api-key …`.
set -eu
cd "$(dirname "$0")/../.."
name=${1:?say which part to run: web, worker, relay or release}
line=$(sed -n "s/^$name: *//p" Procfile)
[ -n "$line" ] || exec "$@"
shift
# The shell is replaced, so that SIGTERM reaches the program.
exec sh -c "exec $line \"\$@\"" "$name" "$@"
