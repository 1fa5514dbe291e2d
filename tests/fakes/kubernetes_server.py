"""As much of a Kubernetes API server as kubectl needs for a deployment, and of the controllers behind it.

Resources are kept as they are written. A Deployment gets a ReplicaSet per pod template, numbered as its controller
numbers them, and is ready at once; a Job is done at once. Which images fail at either is said by the test.

What a strategic merge would give is not computed: a patch by `kubectl apply` carries the whole manifest in an
annotation, and that is taken.
"""

from __future__ import annotations

import copy
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.fakes.loopback import Answer, LoopbackServer, Received

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
REVISION = "deployment.kubernetes.io/revision"

Resource = dict[str, Any]

KINDS = {
    "v1": {
        "ConfigMap": "configmaps", "Service": "services", "ServiceAccount": "serviceaccounts", "Pod": "pods",
        "Secret": "secrets",
    },
    "apps/v1": {"Deployment": "deployments", "ReplicaSet": "replicasets"},
    "batch/v1": {"Job": "jobs"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "networking.k8s.io/v1": {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"},
    "gateway.networking.k8s.io/v1": {"HTTPRoute": "httproutes"},
    "keda.sh/v1alpha1": {"ScaledObject": "scaledobjects"},
    "monitoring.coreos.com/v1": {"PodMonitor": "podmonitors"},
}  # fmt: skip
SAID = "the last words of the set-up\n"
"""What the log of every pod is."""

VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True)
class Asked:
    """A request, as the cluster's rules see it. selector: of labels."""

    verb: str
    group: str
    kind: str
    name: str
    selector: str = ""

    def __str__(self) -> str:
        """For an order of events: `patch deployments/all-web`."""
        return f"{self.verb} {self.kind}{f'/{self.name}' if self.name else ''}"


class KubernetesServer(LoopbackServer):
    """never_ready, never_done: images whose Deployments do not become ready, whose Jobs fail."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[tuple[str, str], Resource] = {}
        self.asked: list[Asked] = []
        self.never_ready: set[str] = set()
        self.never_done: set[str] = set()
        self._writing = threading.RLock()
        self._version = 0

    def configure(self, path: Path) -> None:
        """Write a kubeconfig that leads here."""
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1", "kind": "Config", "current-context": "here", "preferences": {},
                    "clusters": [{"name": "here", "cluster": {"server": self.url}}],
                    "users": [{"name": "tester", "user": {"token": "a-token"}}],
                    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "tester"}}],
                }
            )
        )  # fmt: skip

    def images(self) -> dict[str, str]:
        """Deployment → the image that it runs."""
        return {
            name: item["spec"]["template"]["spec"]["containers"][0]["image"]
            for (kind, name), item in self.stored.items()
            if kind == "deployments"
        }

    def order(self) -> list[str]:
        """What changed something, as it was asked."""
        return [str(asked) for asked in self.asked if asked.verb not in ("get", "list", "watch")]

    def handle(self, request: Received) -> Answer:
        parts = request.path.strip("/").split("/")
        if parts[0] == "openapi":
            return self._openapi(request.path)
        if parts[0] not in ("api", "apis"):
            return Answer(
                body={"major": "1", "minor": "37", "gitVersion": "v1.37.0", "platform": "linux/amd64"}
            )
        count = 2 if parts[0] == "api" else 3
        version = "/".join(parts[1:count])
        if len(parts) < count:
            return Answer(body=_groups(parts[0]))
        if version not in KINDS:
            return _failed(404, "there is no such group")
        rest = parts[count:]
        if not rest:
            return Answer(body=_resources(version))
        with self._writing:
            return self._resource(request, version, rest)

    def _resource(self, request: Received, version: str, rest: list[str]) -> Answer:
        assert rest[0] == "namespaces"
        if len(rest) < 3:
            return Answer(body={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": rest[1]}})
        plural, name = rest[2], rest[3] if len(rest) > 3 else ""
        query = {key: found[0] for key, found in parse_qs(request.query).items()}
        selector = query.get("labelSelector", "")
        one_of_many = query.get("fieldSelector", "").removeprefix("metadata.name=")
        verb = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}.get(request.method)
        if verb is None:
            verb = "watch" if query.get("watch") in ("true", "1") else ("get" if name else "list")
        group = version.rpartition("/")[0]
        self.asked.append(Asked(verb, group, "/".join([plural, *rest[4:]]), name, selector))
        if rest[4:] == ["log"]:
            return Answer(body=SAID.encode(), headers={"Content-Type": "text/plain"})
        if verb == "create":
            return self._create(plural, request.json)
        if verb == "list":
            return Answer(body=self._list(version, plural, selector, one_of_many))
        if verb == "watch":
            # Nothing here changes while somebody watches; they come again until their time is over.
            self._released.wait(0.2)
            return Answer(body=b"")
        found = self.stored.get((plural, name))
        if found is None:
            return _failed(404, f'{plural} "{name}" not found', reason="NotFound", name=name)
        if verb == "get":
            return Answer(body=found)
        if verb == "delete":
            del self.stored[plural, name]
            return Answer(body={"apiVersion": "v1", "kind": "Status", "status": "Success"})
        return Answer(body=self._patch(plural, found, request.json))

    def _create(self, plural: str, given: Resource) -> Answer:
        name = given["metadata"]["name"]
        if (plural, name) in self.stored:
            return _failed(409, f'{plural} "{name}" already exists', reason="AlreadyExists", name=name)
        return Answer(status=201, body=self._keep(plural, given))

    def _list(self, version: str, plural: str, selector: str, name: str) -> Resource:
        wanted = [part.split("=") for part in selector.replace("==", "=").split(",") if "=" in part]
        found = [
            item
            for (kind, own), item in sorted(self.stored.items())
            if kind == plural and (not name or own == name)
            and all(item["metadata"].get("labels", {}).get(key) == value for key, value in wanted)
        ]  # fmt: skip
        (kind,) = [kind for kind, many in KINDS[version].items() if many == plural]
        return {
            "apiVersion": version, "kind": f"{kind}List", "metadata": {"resourceVersion": str(self._version)},
            "items": found,
        }  # fmt: skip

    def _patch(self, plural: str, found: Resource, patch: Any) -> Resource:
        if isinstance(patch, list):
            return self._keep(plural, _json_patched(found, patch))
        applied = patch.get("metadata", {}).get("annotations", {}).get(LAST_APPLIED)
        if applied is None or set(patch) == {"metadata"}:
            return self._keep(plural, _merged(found, patch))
        made = json.loads(applied)
        own = {key: value for key, value in found["metadata"].items() if key not in ("labels", "annotations")}
        made["metadata"] |= own
        made["metadata"]["annotations"] = {
            **found["metadata"].get("annotations", {}), **made["metadata"].get("annotations", {}), LAST_APPLIED: applied,
        }  # fmt: skip
        return self._keep(plural, made)

    def _keep(self, plural: str, item: Resource) -> Resource:
        item = copy.deepcopy(item)
        self._version += 1
        meta = item["metadata"]
        meta["resourceVersion"] = str(self._version)
        meta.setdefault("uid", f"{plural}-{meta['name']}")
        meta.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        meta["generation"] = meta.get("generation", 0) + 1
        if plural == "deployments":
            self._roll_out(item)
        if plural == "jobs":
            self._run(item)
        self.stored[plural, meta["name"]] = item
        return item

    def _run(self, job: Resource) -> None:
        """What the controller of Jobs does, and the pod."""
        meta, spec = job["metadata"], job["spec"]["template"]["spec"]
        failed = spec["containers"][0]["image"] in self.never_done
        condition = {"type": "Failed" if failed else "Complete", "status": "True", "reason": "Tried"}
        job["status"] = {"conditions": [condition]}
        labels = {"batch.kubernetes.io/job-name": meta["name"]}
        job["spec"]["selector"] = {"matchLabels": labels}
        pod = {"name": f"{meta['name']}-1", "namespace": meta["namespace"], "labels": labels}
        self.stored["pods", pod["name"]] = {
            "apiVersion": "v1", "kind": "Pod", "metadata": pod, "spec": spec,
            "status": {"phase": "Failed" if failed else "Succeeded"},
        }  # fmt: skip

    def _roll_out(self, item: Resource) -> None:
        """What the controller of Deployments does: the template's ReplicaSet becomes the newest."""
        name, template = item["metadata"]["name"], _without_nulls(item["spec"]["template"])
        owned = [
            other for (kind, _), other in self.stored.items()
            if kind == "replicasets" and other["metadata"]["ownerReferences"][0]["name"] == name
        ]  # fmt: skip
        numbers = {int(other["metadata"]["annotations"][REVISION]): other for other in owned}
        same = [number for number, other in numbers.items() if other["spec"]["template"] == template]
        newest = max(numbers, default=0)
        number = newest if same == [newest] else newest + 1
        made = numbers[same[0]] if same else self._replica_set(item, len(owned))
        made["metadata"]["annotations"] = {REVISION: str(number)}
        item["metadata"].setdefault("annotations", {})[REVISION] = str(number)
        image = template["spec"]["containers"][0]["image"]
        stuck = image in self.never_ready
        item["spec"].setdefault("replicas", 1)
        progress = {
            "type": "Progressing", "status": "False" if stuck else "True",
            "reason": "ProgressDeadlineExceeded" if stuck else "NewReplicaSetAvailable",
        }  # fmt: skip
        ready = 0 if stuck else item["spec"]["replicas"]
        item["status"] = {
            "observedGeneration": item["metadata"]["generation"], "replicas": item["spec"]["replicas"],
            "updatedReplicas": item["spec"]["replicas"], "availableReplicas": ready, "readyReplicas": ready,
            "conditions": [progress],
        }  # fmt: skip

    def _replica_set(self, owner: Resource, number: int) -> Resource:
        meta = owner["metadata"]
        name = f"{meta['name']}-{number}"
        made = {
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": name, "namespace": meta["namespace"], "uid": f"replicaset-{name}",
                "labels": owner["spec"]["template"]["metadata"]["labels"],
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "Deployment", "name": meta["name"], "uid": meta["uid"], "controller": True}
                ],
            },
            "spec": {
                "replicas": 1, "selector": owner["spec"]["selector"], "template": _without_nulls(owner["spec"]["template"]),
            },
        }  # fmt: skip
        self.stored["replicasets", name] = made
        return made

    def _openapi(self, path: str) -> Answer:
        if path == "/openapi/v3":
            places = {
                _place(version): {"serverRelativeURL": f"/openapi/v3/{_place(version)}"} for version in KINDS
            }
            return Answer(body={"paths": places})
        version = path.removeprefix("/openapi/v3/").removeprefix("apis/").removeprefix("api/")
        if version not in KINDS:
            return _failed(404, "there is only v3")
        paths = {}
        for kind, plural in KINDS[version].items():
            paths[f"/{_place(version)}/namespaces/{{namespace}}/{plural}/{{name}}"] = {
                "patch": {
                    "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
                    "x-kubernetes-group-version-kind": _group_version_kind(version, kind),
                    "responses": {"200": {"description": "OK"}},
                }
            }
        return Answer(
            body={"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "1.37"}, "paths": paths}
        )


def _place(version: str) -> str:
    return f"api/{version}" if version == "v1" else f"apis/{version}"


def _group_version_kind(version: str, kind: str) -> Resource:
    group, _, number = version.rpartition("/")
    return {"group": group, "version": number, "kind": kind}


def _groups(root: str) -> Resource:
    if root == "api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    found = [
        {
            "name": version.partition("/")[0],
            "versions": [{"groupVersion": version, "version": version.rpartition("/")[2]}],
            "preferredVersion": {"groupVersion": version, "version": version.rpartition("/")[2]},
        }
        for version in KINDS
        if version != "v1"
    ]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def _resources(version: str) -> Resource:
    found = [
        {"name": plural, "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": VERBS}
        for kind, plural in KINDS[version].items()
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": found}


def _failed(status: int, message: str, *, reason: str = "", name: str = "") -> Answer:
    body = {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": status,
        "details": {"name": name},
    }  # fmt: skip
    return Answer(status=status, body=body)


def _without_nulls(value: Any) -> Any:
    """What Go's clients write of fields that are not set means nothing."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _merged(found: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    made = dict(found) if isinstance(found, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = _merged(made.get(key), value)
    return made


def _json_patched(found: Resource, operations: list[Resource]) -> Resource:
    """RFC 6902, as far as kubectl uses it here: members of objects."""
    made = copy.deepcopy(found)
    for operation in operations:
        *parents, last = [
            part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]
        ]
        place = made
        for part in parents:
            place = place[part]
        if operation["op"] == "remove":
            del place[last]
        else:
            place[last] = operation["value"]
    return made
