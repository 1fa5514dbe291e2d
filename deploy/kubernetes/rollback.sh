#!/bin/sh
# Takes back the processes that the last deployment changed: deploy/kubernetes/rollback.sh NAMESPACE
#
# Settings come back with them, since a ConfigMap has its content in its name. Databases, routes, policies and
# autoscalers stay as the newer release left them: migrations let the former release run on (docs/howto/change-a-table.md).
# A second call finds nothing to take back.
set -eu
namespace=${1:?say in which namespace, such as embudo}
seconds=${EMBUDO_DEPLOY_SECONDS:-900}
tab=$(printf '\t')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What deploy.sh kept: NAME.revision and NAME.json of each process as it was.
kubectl get configmap before-deployment --namespace "$namespace" --ignore-not-found \
    --output 'go-template={{range $key, $value := .data}}{{$key}}{{"\t"}}{{$value}}{{"\n"}}{{end}}' > "$work/kept"
if ! [ -s "$work/kept" ]; then
    echo "nothing to take back in $namespace: no deployment since, or it was the first" >&2
    exit 1
fi
while IFS=$tab read -r key value; do printf '%s' "$value" > "$work/$key"; done < "$work/kept"
kubectl get deployments --namespace "$namespace" --selector app.kubernetes.io/name=embudo --output "jsonpath=\
{range .items[*]}{.metadata.name}$tab{.metadata.annotations.deployment\.kubernetes\.io/revision}{'\n'}{end}" > "$work/now"

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
kubectl delete configmap before-deployment --namespace "$namespace"
[ -z "$undone" ] || kubectl rollout status $undone --namespace "$namespace" --timeout="${seconds}s"
