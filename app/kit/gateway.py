"""The gateway's routing, written from the registry of services, so that no path is forgotten when one is added.

deploy/gateway holds hand-written configurations with marked sections; this module fills the sections and the names
from the environment. A test compares the committed sections with what is written here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "gateway"
NGINX, KONG, DEFAULTS = FOLDER / "nginx.conf.template", FOLDER / "kong.yaml", FOLDER / "gateway.env"
KUBERNETES = FOLDER.parent / "kubernetes"
INGRESS = KUBERNETES / "overlays" / "services" / "ingress.yaml"
HTTP_ROUTES = KUBERNETES / "components" / "gateway-api" / "routes.yaml"

INSIDE_ONLY = ("/metrics", "/internal", "/readyz")
"""Beginnings of paths that no gateway lets through: metrics, and the readiness of single processes."""

ROUTE_MATCHES = 8
"""Matches in a rule of an HTTPRoute: what the first release of the Gateway API's v1 allows."""

SERVER_OPTIONS = "max_fails=3 fail_timeout=10s"
"""Three failures within ten seconds, and a server is left alone for ten."""

KEEPALIVE = 32
"""Connections kept to each upstream, per nginx worker."""


@dataclass(frozen=True, kw_only=True)
class Routes:
    """What a service answers.

    paths: beginnings of its public paths. callbacks: those below them that providers call, in bursts.
    screens: beginnings of its pages in the admin.
    """

    service: str
    paths: tuple[str, ...]
    callbacks: tuple[str, ...]
    screens: tuple[str, ...]

    def answers(self, path: str) -> bool:
        """Whether a request for this path goes to the service."""
        return any(path == begin or path.startswith(f"{begin}/") for begin in (*self.paths, *self.screens))


class GatewayProblem(ValueError):
    """The gateway cannot be configured like this; the message says what to change."""


def nginx_sections(routes: Iterable[Routes]) -> dict[str, str]:
    """The marked sections of nginx.conf.template."""
    routes = tuple(routes)
    upstreams = [
        f"upstream {route.service} {{\n    ${{{route.service.upper()}_SERVERS}}\n    keepalive {KEEPALIVE};\n}}"
        for route in routes
    ]
    upstreams.append(f"upstream platform {{\n    ${{PLATFORM_SERVERS}}\n    keepalive {KEEPALIVE};\n}}")
    return {
        "upstreams": _indented("\n".join(upstreams), 4),
        "routes": _indented("\n".join(_locations(route) for route in routes), 8),
    }


def _locations(route: Routes) -> str:
    lines = [f"# {route.service}"]
    if route.callbacks:
        lines += [
            f"location ~ ^({_alternatives(route.callbacks)})(/|$) {{",
            "    limit_req zone=callback burst=2000 nodelay;",
            *_passed_on(route.service),
            "}",
        ]
    for paths in (route.paths, route.screens):
        lines += [
            f"location ~ ^({_alternatives(paths)})(/|$) {{",
            *_passed_on(route.service),
            "}",
        ]
    lines += [
        f"location = /openapi/{route.service}.json {{",
        f"    proxy_pass http://{route.service}/openapi.json;",
        "}",
    ]
    return "\n".join(lines)


def _passed_on(service: str) -> list[str]:
    # The template says at @once why PUT and DELETE leave by 418.
    return [
        f"    set $upstream {service};",
        "    if ($asked_once) { return 418; }",
        f"    proxy_pass http://{service};",
    ]


def _alternatives(paths: Iterable[str]) -> str:
    return "|".join(paths)


def _indented(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line if line else line for line in text.splitlines())


def kong_sections(routes: Iterable[Routes]) -> dict[str, str]:
    """The marked section of kong.yaml."""
    routes = tuple(routes)
    lines = ["services:"]
    for route in routes:
        lines += _kong_service(route.service)
        lines += _kong_route(f"{route.service}-api", [*route.paths, *route.screens])
        if route.callbacks:
            lines += [*_kong_route(f"{route.service}-callbacks", route.callbacks, priority=10), *KONG_BURST]
    lines += _kong_service("platform")
    lines += _kong_route("platform-login", ["/login"], priority=10)
    lines += ["        plugins:", "          - name: rate-limiting", "            config:"]
    lines += ["              minute: 10", "              limit_by: ip", "              policy: local"]
    lines += _kong_route("platform", ["/"])
    lines += _kong_route("inside-only", INSIDE_ONLY, priority=20)
    lines += ["        plugins:", "          - name: request-termination", "            config:"]
    lines += ["              status_code: 404", "              message: There is nothing here."]
    lines += ["upstreams:"]
    for name in (*(route.service for route in routes), "platform"):
        lines += [
            f"  - name: {name}.embudo",
            "    healthchecks:",
            "      passive:",
            "        unhealthy: {tcp_failures: 3, timeouts: 3, http_failures: 3, http_statuses: [502, 503]}",
            "        healthy: {successes: 1}",
            "      active:",
            "        http_path: /readyz",
            "        healthy: {interval: 5, successes: 1}",
            "        unhealthy: {interval: 5, http_failures: 2, tcp_failures: 2}",
            "    targets:",
            f"      - target: {'leads' if name == 'platform' else name}:8080",
        ]
    return {"services": "\n".join(lines)}


KONG_BURST = (
    "        plugins:",
    "          - name: rate-limiting",
    "            config:",
    "              second: 1000",
    "              limit_by: ip",
    "              policy: local",
)
"""Providers bring many messages at once."""


def _kong_service(name: str) -> list[str]:
    # retries: 0, because Kong repeats a POST as readily as a GET.
    return [
        f"  - name: {name}",
        f"    host: {name}.embudo",
        "    port: 8080",
        "    protocol: http",
        "    retries: 0",
        "    connect_timeout: 2000",
        "    write_timeout: 10000",
        "    read_timeout: 35000",
        "    routes:",
    ]


def _kong_route(name: str, paths: Iterable[str], *, priority: int = 0) -> list[str]:
    return [
        f"      - name: {name}",
        "        strip_path: false",
        "        preserve_host: true",
        f"        regex_priority: {priority}",
        "        paths:",
        *(f'          - "~{path}(/|$)"' if path != "/" else '          - "/"' for path in paths),
    ]


def ingress_sections(routes: Iterable[Routes]) -> dict[str, str]:
    """The marked section of the Kubernetes Ingress. An Ingress compares whole path elements, as we do.

    It can refuse nothing itself: what is of use inside only goes to a Service that has no pods.
    """
    routes = tuple(routes)
    lines: list[str] = []
    for route in routes:
        for path in (*route.paths, *route.screens):
            lines += _ingress_path(path, f"{route.service}-web")
    for path in INSIDE_ONLY:
        lines += _ingress_path(path, "nothing")
    lines += _ingress_path("/", f"{_platform([route.service for route in routes])}-web")
    return {"paths": _indented("\n".join(lines), 10)}


def _ingress_path(path: str, service: str) -> list[str]:
    return [
        f"- path: {path}",
        "  pathType: Prefix",
        f"  backend: {{service: {{name: {service}, port: {{name: http}}}}}}",
    ]


def http_route_sections(routes: Iterable[Routes]) -> dict[str, str]:
    """The marked section of the Gateway API's HTTPRoutes: one for each service, one for the platform."""
    routes = tuple(routes)
    documents = []
    for route in routes:
        paths = [*route.paths, *route.screens]
        rules = [
            _http_rule(paths[start : start + ROUTE_MATCHES], f"{route.service}-web")
            for start in range(0, len(paths), ROUTE_MATCHES)
        ]
        rules.append(_openapi_rule(route.service))
        documents.append(_http_route(route.service, rules))
    # A rule without a backend answers 404.
    first = _platform([route.service for route in routes])
    documents.append(
        _http_route("platform", [_http_rule(INSIDE_ONLY, None), _http_rule(["/"], f"{first}-web")])
    )
    return {"routes": "\n---\n".join(documents)}


def _http_route(name: str, rules: Iterable[str]) -> str:
    return "\n".join(
        [
            "apiVersion: gateway.networking.k8s.io/v1",
            "kind: HTTPRoute",
            f"metadata: {{name: {name}}}",
            "spec:",
            "  parentRefs: [{name: embudo, namespace: gateway}]",
            "  hostnames: [embudo.example.com]",
            "  rules:",
            *(_indented(rule, 4) for rule in rules),
        ]
    )


def _http_rule(paths: Iterable[str], service: str | None) -> str:
    lines = ["- matches:"]
    lines += [f"    - path: {{type: PathPrefix, value: {path}}}" for path in paths]
    if service is not None:
        lines.append(f"  backendRefs: [{{name: {service}, port: 8080}}]")
    return "\n".join(lines)


def _openapi_rule(service: str) -> str:
    return "\n".join(
        [
            "- matches:",
            f"    - path: {{type: Exact, value: /openapi/{service}.json}}",
            "  filters:",
            "    - type: URLRewrite",
            "      urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /openapi.json}}",
            f"  backendRefs: [{{name: {service}-web, port: 8080}}]",
        ]
    )


def _platform(services: Iterable[str]) -> str:
    """Whose process shows the platform's pages, which every process has. People sell, so it is the leads'."""
    found = tuple(services)
    return "leads" if "leads" in found else found[0]


def filled(text: str, sections: Mapping[str, str]) -> str:
    """The text with its marked sections replaced; raises GatewayProblem when a mark is missing."""
    for name, content in sections.items():
        pattern = re.compile(rf"(^ *# {name}: begin[^\n]*\n).*?(^ *# {name}: end)", re.DOTALL | re.MULTILINE)
        text, count = pattern.subn(partial(_between, content), text)
        if count != 1:
            raise GatewayProblem(f"the marks “# {name}: begin” and “# {name}: end” are not there once")
    return text


def _between(content: str, marks: re.Match[str]) -> str:
    return f"{marks[1]}{content}\n{marks[2]}"


def write(routes: Iterable[Routes]) -> None:
    """Renew the committed files."""
    for path, sections in files(routes).items():
        path.write_text(filled(path.read_text(), sections))


def files(routes: Iterable[Routes]) -> dict[Path, dict[str, str]]:
    """The committed files, each with the sections that are written into it."""
    routes = tuple(routes)
    return {
        NGINX: nginx_sections(routes),
        KONG: kong_sections(routes),
        INGRESS: ingress_sections(routes),
        HTTP_ROUTES: http_route_sections(routes),
    }


def nginx(routes: Iterable[Routes], environ: Mapping[str, str]) -> str:
    """The finished nginx.conf: the template with the names from the environment, or their defaults.

    <SERVICE>_UPSTREAM is a list of host:port. Raises GatewayProblem naming every variable that is wrong.
    """
    routes = tuple(routes)
    values = {**_defaults(), **{name: value for name, value in environ.items() if value}}
    problems: list[str] = []
    servers: dict[str, list[str]] = {}
    for route in routes:
        name = f"{route.service.upper()}_UPSTREAM"
        found = values.get(name, "").replace(",", " ").split()
        if not found or not all(re.fullmatch(r"[A-Za-z0-9.\-\[\]:]+:\d{1,5}", item) for item in found):
            problems.append(f"{name} must be a list of host:port")
        servers[route.service] = found
    for name, value in values.items():
        if name.startswith("GATEWAY_") and re.search(r"[\n{}]", value):
            problems.append(f"{name} has characters that no setting has")
    if problems:
        raise GatewayProblem("; ".join(problems))
    for service, found in servers.items():
        values[f"{service.upper()}_SERVERS"] = _servers(found)
    # The others stand in.
    first = _platform(servers)
    others = [item for service, found in servers.items() if service != first for item in found]
    values["PLATFORM_SERVERS"] = "\n        ".join(
        [
            _servers(servers[first]),
            *(f"server {item} {SERVER_OPTIONS} backup;" for item in dict.fromkeys(others)),
        ]
    )
    text = filled(NGINX.read_text(), nginx_sections(routes))
    return re.sub(r"\$\{([A-Z_]+)\}", lambda found: values[found[1]], text)


def _servers(found: Iterable[str]) -> str:
    return "\n        ".join(f"server {item} {SERVER_OPTIONS};" for item in found)


def _defaults() -> dict[str, str]:
    lines = (line for line in DEFAULTS.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in (line.partition("=") for line in lines)}
