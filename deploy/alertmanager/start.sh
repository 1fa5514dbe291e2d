#!/bin/sh
# Fills alertmanager.yml.template from the environment and becomes Alertmanager:
#   start.sh FILE [argument …]    FILE: where the filled configuration is to be; the arguments go to Alertmanager
# With ALERTMANAGER=true (any program) only the file is made.
set -eu
here=$(dirname "$0")
umask 077  # the password and the addresses of webhooks are secrets
# Only sh and awk, which is what the official image has.
awk '
function filled(line,    name, value) {
    while (match(line, /@[A-Z_]+@/)) {
        name = substr(line, RSTART + 1, RLENGTH - 2)
        value = ENVIRON[name]
        if (value == "") { print "start.sh: " name " is empty but needed" > "/dev/stderr"; wrong = 1; exit 1 }
        if (value ~ /\n|@[A-Z_]+@/) { print "start.sh: " name " holds what it must not" > "/dev/stderr"; wrong = 1; exit 1 }
        gsub(/\047/, "\047\047", value)
        line = substr(line, 1, RSTART - 1) value substr(line, RSTART + RLENGTH)
    }
    return line
}
/^#if / { depth++; if (!hidden && ENVIRON[$2] == "") hidden = depth; next }
/^#end/ { if (hidden == depth) hidden = 0; depth--; next }
hidden || /^#/ { next }
{ print filled($0) }
END { exit wrong }
' "$here/alertmanager.yml.template" >"$1"
configuration=$1
shift
exec "${ALERTMANAGER:-alertmanager}" --config.file="$configuration" "$@"
