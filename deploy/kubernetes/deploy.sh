#!/bin/sh
# Brings a cluster to what an overlay says: deploy/kubernetes/deploy.sh deploy/kubernetes/overlays/production
# First what the Job needs, then the Job, then the processes. When the Job fails nothing else has changed. Migrations
# leave the running release working (docs/deploy/kubernetes.md), so it serves until the new pods are ready.
set -eu
overlay=${1:?say which overlay to deploy, such as deploy/kubernetes/overlays/production}
seconds=${EMBUDO_DEPLOY_SECONDS:-900}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kubectl kustomize "$overlay" > "$work/all.yaml"
namespace=$(sed -n 's/^  namespace: //p' "$work/all.yaml" | sort -u | head -n 1)
say() { printf '\n=== %s\n' "$1"; }

say "databases"
kubectl delete job release --namespace "$namespace" --ignore-not-found --wait=true
kubectl apply --filename "$work/all.yaml" --selector 'app.kubernetes.io/component notin (web,worker,relay)'
if ! kubectl wait job/release --namespace "$namespace" --for=condition=complete --timeout="${seconds}s"; then
    kubectl logs job/release --namespace "$namespace" --tail=50 >&2 || true
    echo "the set-up failed; the processes were left as they are" >&2
    exit 1
fi

say "processes"
kubectl apply --filename "$work/all.yaml"
for deployment in $(kubectl get deployments --namespace "$namespace" --output name \
    --selector app.kubernetes.io/name=embudo); do
    if ! kubectl rollout status "$deployment" --namespace "$namespace" --timeout="${seconds}s"; then
        echo "$deployment does not become ready; back with: kubectl rollout undo $deployment --namespace $namespace" >&2
        exit 1
    fi
done
