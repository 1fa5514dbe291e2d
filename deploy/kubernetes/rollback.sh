#!/bin/sh
# Takes back the processes that the last deployment changed: deploy/kubernetes/rollback.sh NAMESPACE
#
# Settings come back with them, since a ConfigMap has its content in its name. Databases, routes, policies and
# autoscalers stay as the newer release left them: migrations let the former release run on (docs/howto/change-a-table.md).
# A second call finds nothing to take back. SERVICE=leads takes back the processes of one service, whose last deployment
# may have been its own; without it every process goes back to what it was before it was deployed last.
set -eu
namespace=${1:?say in which namespace, such as embudo}
service=${SERVICE:-}
seconds=${EMBUDO_DEPLOY_SECONDS:-900}
tab=$(printf '\t')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What deploy.sh kept: NAME.revision and NAME.json of each process as it was.
kubectl get configmap before-deployment --namespace "$namespace" --ignore-not-found \
    --output 'go-template={{range $key, $value := .data}}{{$key}}{{"\t"}}{{$value}}{{"\n"}}{{end}}' > "$work/kept"
while IFS=$tab read -r key value; do printf '%s' "$value" > "$work/$key"; done < "$work/kept"
kubectl get deployments --namespace "$namespace" --output "jsonpath=\
{range .items[*]}{.metadata.name}$tab{.metadata.annotations.deployment\.kubernetes\.io/revision}{'\n'}{end}" \
    --selector "app.kubernetes.io/name=embudo${service:+,app.kubernetes.io/instance=$service}" > "$work/now"
known=
while IFS=$tab read -r name _; do [ ! -e "$work/$name.json" ] || known="$known $name"; done < "$work/now"
if [ -z "$known" ]; then
    echo "nothing to take back in $namespace${service:+ of $service}: no deployment since, or it was the first" >&2
    exit 1
fi

undone=
while IFS=$tab read -r name now; do
    if ! [ -e "$work/$name.revision" ]; then
        echo "$name: nothing is known from before; it stays" >&2
        continue
    fi
    before=$(cat "$work/$name.revision")
    [ "$before" != "$now" ] || continue
    kubectl rollout undo "deployment/$name" --namespace "$namespace" --to-revision="$before"
    # What `kubectl apply` did last is undone, too: else the next one would not remove what only this revision has.
    kubectl apply set-last-applied --namespace "$namespace" --filename "$work/$name.json"
    # The revision has a new number now: whoever calls again after a failure must not look for the old one.
    kubectl patch configmap before-deployment --namespace "$namespace" --type json \
        --patch "[{\"op\": \"remove\", \"path\": \"/data/$name.revision\"}]"
    undone="$undone deployment/$name"
done < "$work/now"
if [ -n "$service" ]; then
    # Others' stay.
    forget=$(printf '"%s.revision": null, "%s.json": null, ' $(for name in $known; do echo "$name $name"; done))
    kubectl patch configmap before-deployment --namespace "$namespace" --type merge --patch "{\"data\": {${forget%, }}}"
else
    kubectl delete configmap before-deployment --namespace "$namespace"
fi
[ -z "$undone" ] || kubectl rollout status $undone --namespace "$namespace" --timeout="${seconds}s"
