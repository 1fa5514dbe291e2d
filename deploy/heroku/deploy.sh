#!/bin/sh
# Brings a Heroku app to the commit at hand: deploy/heroku/deploy.sh APP
# or to what another app of its pipeline runs, without building it again: deploy/heroku/deploy.sh APP OTHER_APP
#
#   migrate    the release phase (`release:` of the Procfile); when it fails the former release stays
#   roll out   the dynos, until all of them are up on the new release
#   smoke      deploy/smoke.py asks the public address
#   roll back  when one of the last two fails: heroku releases:rollback, and the public address is asked again
#
# HEROKU_API_KEY lets it in where nobody has logged in. EMBUDO_DEPLOY_SECONDS limits each of the first two steps (900),
# EMBUDO_SMOKE_URL takes the place of the config var PUBLIC_URL, EMBUDO_SMOKE_SECONDS limits the questions (60).
# Exit status 0 only when the new release answers.
set -eu
here=$(dirname "$0")
app=${1:?say which app, such as acme-crm}
other=${2:-}
seconds=${EMBUDO_DEPLOY_SECONDS:-900}
url=${EMBUDO_SMOKE_URL:-$(heroku config:get PUBLIC_URL --app "$app")}
say() { printf '\n=== %s\n' "$1"; }
smoke() { python3 "$here/../smoke.py" "$url" --seconds "${EMBUDO_SMOKE_SECONDS:-60}"; }

# `releases WHICH WHAT`: a field of the newest release, or of the one that runs ("" when there is none).
releases() {
    heroku releases --json --num 20 --app "$app" | python3 -c '
import json, sys
found = json.load(sys.stdin)
chosen = found[:1] if sys.argv[1] == "newest" else [item for item in found if item.get("current")]
print(*(item[sys.argv[2]] for item in chosen[:1]))' "$1" "$2"
}

# Whether the newest release came through its release phase. `git push` and a promotion end well even when it failed.
released() {
    until=$(($(date +%s) + seconds))
    while :; do
        case "$(releases newest status)" in
        succeeded) return 0 ;;
        failed | expired) return 1 ;;
        esac
        [ "$(date +%s)" -lt "$until" ] || return 1
        sleep 5
    done
}

up() { timeout "$seconds" heroku ps:wait --app "$app"; }

before=$(releases current version)
say "migrate: release phase"
if [ -n "$other" ]; then
    heroku pipelines:promote --app "$other" --to "$app"
else
    # --force: an older commit may be what is wanted. Without HEROKU_API_KEY git asks whatever `heroku login` has set up.
    helper=
    [ -z "${HEROKU_API_KEY:-}" ] || helper='!printf "username=heroku\npassword=%s\n" "$HEROKU_API_KEY"; :'
    git ${helper:+-c} ${helper:+"credential.helper=$helper"} \
        push --force "${EMBUDO_HEROKU_GIT:-https://git.heroku.com/$app.git}" HEAD:refs/heads/main
fi
if ! released; then
    heroku releases:output --app "$app" >&2 || true
    echo "the release phase failed; the former release runs on" >&2
    exit 1
fi
if [ "$(releases newest version)" = "$before" ]; then
    echo "v$before runs already" >&2
    smoke
    exit
fi

say "roll out: dynos"
if up; then
    say "smoke: $url"
    if smoke; then exit 0; fi
    echo "the new release does not answer as it must" >&2
else
    echo "the dynos do not come up" >&2
fi

if [ -z "$before" ]; then
    echo "there is no former release to go back to; this one was left as it is" >&2
    exit 1
fi
say "roll back: v$before"
# This is a release of its own, with a release phase: `flask ops setup` of the former code leaves newer tables alone.
heroku releases:rollback "v$before" --app "$app"
if released && up && smoke; then
    echo "the former release is back and answers; the database stays ahead, which it bears" >&2
else
    echo "the former release does not answer either: heroku releases:output, heroku logs, $url" >&2
fi
exit 1
