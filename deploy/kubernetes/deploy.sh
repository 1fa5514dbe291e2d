#!/bin/sh
# Brings a cluster to what an overlay says: deploy/kubernetes/deploy.sh OVERLAY [IMAGE]
#
#   migrate    what the Job needs, then the Job; when it fails nothing else has changed
#   roll out   the processes, until each is ready
#   smoke      deploy/smoke.py asks the public address
#   roll back  when one of the last two fails: rollback.sh, and the public address is asked again
#
# SERVICE=leads deploys one service of an overlay that runs each by itself: its databases (its own and the platform's), its
# processes and what all share (settings, policies, the addresses); the other services' are not touched. Two services may
# be deployed at the same time.
#
# IMAGE replaces the overlay's image of Embudo, best by digest. EMBUDO_DEPLOY_SECONDS limits the Job and each rollout
# (900), EMBUDO_SMOKE_URL takes the place of the overlay's PUBLIC_URL, EMBUDO_SMOKE_SECONDS limits the questions (60).
# Exit status 0 only when the new release answers.
set -eu
here=$(dirname "$0")
overlay=${1:?say which overlay to deploy, such as deploy/kubernetes/overlays/production}
image=${2:-}
service=${SERVICE:-}
seconds=${EMBUDO_DEPLOY_SECONDS:-900}
processes=app.kubernetes.io/name=embudo${service:+,app.kubernetes.io/instance=$service}
job=release${service:+-$service}
concerned=
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say() { printf '\n=== %s\n' "$1"; }

kubectl kustomize "$overlay" > "$work/all.yaml"
namespace=$(sed -n 's/^  namespace: //p' "$work/all.yaml" | sort -u | head -n 1)
url=${EMBUDO_SMOKE_URL:-$(sed -n 's/^  PUBLIC_URL: //p' "$work/all.yaml" | tr -d "\"'" | head -n 1)}
if [ -n "$image" ]; then
    # Whatever the Job runs is Embudo; a sidecar of an overlay keeps its own image.
    ours=$(awk '/^---/ {job = 0} /^kind: Job$/ {job = 1} job && /^ *(- )?image: / {print $NF; exit}' "$work/all.yaml")
    [ -n "$ours" ] || { echo "$overlay has no Job that says which image is Embudo's" >&2; exit 1; }
    awk -v ours="$ours" -v image="$image" '/^ *(- )?image: / && $NF == ours {sub(/image: .*/, "image: " image)} {print}' \
        "$work/all.yaml" > "$work/ours.yaml"
    mv "$work/ours.yaml" "$work/all.yaml"
fi
if [ -n "$service" ]; then
    sed -n 's/^ *app\.kubernetes\.io\/instance: //p' "$work/all.yaml" | sort -u > "$work/services"
    grep -qxF -- "$service" "$work/services" || { echo "$overlay has no service $service by itself" >&2; exit 1; }
    others=$(grep -vxF -- "$service" "$work/services" | paste -sd, -)
    concerned="${others:+,app.kubernetes.io/instance notin ($others)}"
    # The Job has a name of its own, so that another service's may run beside it, and sees to this service alone.
    cat > "$work/kustomization.yaml" <<END
resources: [all.yaml]
patches:
  - target: {kind: Job, name: release}
    options: {allowNameChange: true}
    patch: |-
      - {op: replace, path: /metadata/name, value: $job}
      - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: SERVICES, value: $service}}
END
    kubectl kustomize "$work" > "$work/one.yaml"
    mv "$work/one.yaml" "$work/all.yaml"
fi

smoke() { python3 "$here/../smoke.py" "$url" ${service:+--service "$service"} --seconds "${EMBUDO_SMOKE_SECONDS:-60}"; }

job_says() {
    kubectl get job "$job" --namespace "$namespace" \
        --output 'jsonpath={range .status.conditions[?(@.status=="True")]}{.type} {end}'
}

migrated() {
    until=$(($(date +%s) + seconds))
    while :; do
        # `kubectl wait` knows one condition: it would wait the whole time for a Job that has failed.
        case "$(job_says)" in
        *Complete*) return 0 ;;
        *Failed*) return 1 ;;
        esac
        [ "$(date +%s)" -lt "$until" ] || return 1
        kubectl wait "job/$job" --namespace "$namespace" --for=condition=complete --timeout=10s >/dev/null 2>&1 || true
    done
}

# What rollback.sh needs: which revision each process is at, and the manifest that `kubectl apply` compares the next
# one with, which is one line. It is kept in the cluster, so that whoever rolls back later, from another machine, finds it.
remember() {
    tab=$(printf '\t')
    kubectl get deployments --namespace "$namespace" --selector "$processes" --output "jsonpath={range .items[*]}\
{.metadata.name}$tab{.metadata.annotations.deployment\.kubernetes\.io/revision}$tab\
{.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration}{end}" > "$work/running"
    mkdir "$work/before"
    while IFS=$tab read -r name revision manifest; do
        printf '%s' "$revision" > "$work/before/$name.revision"
        printf '%s' "$manifest" > "$work/before/$name.json"
    done < "$work/running"
    # What is known of the other services stays, when this is about one.
    [ -n "$service" ] || kubectl delete configmap before-deployment --namespace "$namespace" --ignore-not-found
    kubectl create configmap before-deployment --namespace "$namespace" --from-file="$work/before" \
        --dry-run=client --output yaml > "$work/before.yaml"
    # Another service's deployment may make it at the same moment, so who comes second adds to it.
    kubectl create --filename "$work/before.yaml" ||
        kubectl patch configmap before-deployment --namespace "$namespace" --type merge --patch-file "$work/before.yaml"
}

say "migrate: databases"
kubectl delete job "$job" --namespace "$namespace" --ignore-not-found --wait=true
kubectl apply --filename "$work/all.yaml" --selector "app.kubernetes.io/component notin (web,worker,relay)$concerned"
if ! migrated; then
    kubectl logs "job/$job" --namespace "$namespace" --tail=50 >&2 || true
    echo "the set-up failed; the processes were left as they are" >&2
    exit 1
fi

say "roll out: processes"
remember
trap 'echo "interrupted; back with: ${service:+SERVICE=$service }$here/rollback.sh $namespace" >&2; exit 1' INT TERM
if kubectl apply --filename "$work/all.yaml" ${concerned:+--selector "${concerned#,}"} &&
    kubectl rollout status deployments --namespace "$namespace" --selector "$processes" --timeout="${seconds}s"; then
    say "smoke: $url"
    if smoke; then exit 0; fi
    echo "the new release does not answer as it must" >&2
else
    echo "the new release does not become ready" >&2
fi

if ! [ -s "$work/running" ]; then
    echo "there is no former release to go back to; this one was left as it is" >&2
    exit 1
fi
say "roll back"
"$here/rollback.sh" "$namespace"
if smoke; then
    echo "the former release is back and answers; databases stay ahead, which it bears" >&2
else
    echo "the former release does not answer either: look at the gateway, the databases and $url" >&2
fi
exit 1
