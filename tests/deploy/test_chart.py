"""The Helm chart, rendered by Helm's own library and checked by the schemas of Kubernetes."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import dreamserve
from dreamserve.settings import PREFIX, Settings
from dreamserve_protocol.pages import PAGES

from .memory import most_bytes, size

helm_python = pytest.importorskip("helm_python", reason="needs requirements-dev.txt on Linux")
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs requirements-dev")
ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/dreamserve"
LATER = {"STORE", "DURABILITY", "API_KEYS_FILE"}  # settings that a server may not have yet
VERSIONS = ("1.27", "1.37")  # the oldest that the chart allows, and the newest that has a schema

EVERYTHING: dict[str, Any] = {
    "worlds": ["/worlds/pong"],
    "store": "redis://redis:6379/0",
    "durability": "strict",
    "drainSeconds": 60,
    "settings": {"capacity": 1_000_000, "session_ttl_s": 0.5, "log_level": "debug"},
    "apiKeys": {"secretName": "keys"},
    "gpu": {"enabled": True, "count": 2},
    "ingress": {"enabled": True, "tlsSecret": "tls", "annotations": {"a": "b"}},
    "autoscaling": {"enabled": True, "sessions": {"enabled": True}},
    "metrics": {
        "serviceMonitor": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "authorization": {"credentials": {"name": "prometheus", "key": "key"}},
        }
    },
    "networkPolicy": {
        "enabled": True,
        "from": [{"podSelector": {}}],
        "egress": [{"ports": [{"port": 6379}]}],
    },
    "serviceAccount": {"annotations": {"a": "b"}},
    "imagePullSecrets": [{"name": "registry"}],
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "dreams"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
    "extraVolumes": [{"name": "worlds", "persistentVolumeClaim": {"claimName": "worlds"}}],
    "extraVolumeMounts": [{"name": "worlds", "mountPath": "/worlds"}],
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "service": {"annotations": {"a": "b"}},
}
EACH = {"defaults": {}, "everything": EVERYTHING}


def rendered(release: str = "blue", **values: Any) -> dict[str, Any]:
    """Return the objects that the chart makes, by kind and name."""
    with helm_python.chart.Chart.load(CHART) as chart:
        files = chart.render(values=values, name=release, namespace="dreams")
    objects = [
        one
        for path, text in files.items()
        if path.endswith(".yaml")
        for one in yaml.safe_load_all(text)
        if one
    ]
    named = {f"{one['kind']} {one['metadata']['name']}": one for one in objects}
    assert len(named) == len(objects)
    return named


def pod(**values: Any) -> dict[str, Any]:
    spec: dict[str, Any] = rendered(**values)["Deployment blue-dreamserve"]["spec"]["template"]
    return spec["spec"]


def container(**values: Any) -> dict[str, Any]:
    (only,) = pod(**values)["containers"]
    return only


@pytest.mark.parametrize("values", EACH.values(), ids=EACH)
def test_helm_finds_no_fault(values):
    report = helm_python.chart.lint(CHART, values, strict=True)
    assert not report["errors"]
    assert {one["error"] for one in report["messages"]} <= {"icon is recommended"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("values", EACH.values(), ids=EACH)
def test_what_it_makes_is_valid_for_kubernetes(values, version):
    objects = rendered(**values)
    checked = [one for one in objects.values() if one["kind"] != "ServiceMonitor"]  # not its own
    assert len(checked) == (9 if values else 5)
    for one in checked:
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replica": 3}, "replica"),
        ({"store": "postgres://db"}, "store"),
        ({"durability": "sometimes"}, "durability"),
        ({"settings": {"port": 9000}}, "port"),
        ({"settings": {"Capacity": 1}}, "Capacity"),
        ({"image": {"repository": ""}}, "repository"),
    ],
)
def test_a_misspelt_or_impossible_value_is_refused(values, named):
    with pytest.raises(helm_python.HelmError, match=named):
        rendered(**values)


def test_the_pods_may_do_nothing_that_they_need_not():
    spec = pod()
    assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    allowed = container()["securityContext"]
    assert allowed["capabilities"] == {"drop": ["ALL"]}
    assert (allowed["readOnlyRootFilesystem"], allowed["allowPrivilegeEscalation"]) == (True, False)
    written = {mount["mountPath"] for mount in container()["volumeMounts"]}
    assert written == {"/tmp", "/data"}


@pytest.mark.parametrize("drain_s", [0, 20, 300])
def test_a_pod_is_not_killed_while_it_drains(drain_s):
    grace_s = pod(drainSeconds=drain_s)["terminationGracePeriodSeconds"]
    assert grace_s >= 5 + drain_s + 10
    environment = {one["name"]: one["value"] for one in container(drainSeconds=drain_s)["env"]}
    assert environment[f"{PREFIX}DRAIN_S"] == str(drain_s)


def test_every_variable_is_a_setting_of_the_server_with_a_value_that_it_takes(monkeypatch):
    variables = {one["name"]: one["value"] for one in container(**EVERYTHING)["env"]}
    names = {name.removeprefix(PREFIX) for name in variables if name.startswith(PREFIX)}
    known = {name.upper() for name in Settings.model_fields}
    assert names - known <= LATER
    for name in names & known:
        monkeypatch.setenv(f"{PREFIX}{name}", variables[f"{PREFIX}{name}"])
    assert Settings.load().capacity == 1_000_000


def test_the_store_is_one_value_or_a_secret_and_memory_needs_none():
    def store(**values: Any) -> list[dict[str, Any]]:
        return [one for one in container(**values)["env"] if one["name"] == f"{PREFIX}STORE"]

    assert store() == []
    assert [one["value"] for one in store(store="redis://r/0")] == ["redis://r/0"]
    (secret,) = store(storeSecret={"name": "redis"})
    assert secret["valueFrom"]["secretKeyRef"] == {"name": "redis", "key": "url"}


def test_the_probes_ask_pages_that_exist():
    probes = [container()[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")]
    assert probes == ["/livez", "/readyz"]
    assert {*probes} < {page.path for page in PAGES}
    probe = container(settings={"tls_cert": "/tls/tls.crt"})["readinessProbe"]["httpGet"]
    assert (probe["scheme"], container()["startupProbe"]["httpGet"]["scheme"]) == ("HTTPS", "HTTP")


def test_a_device_is_a_limit_beside_the_others():
    limits = container(gpu={"enabled": True})["resources"]["limits"]
    assert limits == {"memory": "3Gi", "nvidia.com/gpu": "1"}


def test_all_that_a_server_admits_fits_the_memory_of_its_pod():
    variables = {one["name"]: one["value"] for one in container()["env"]}
    assert most_bytes(variables) < size(container()["resources"]["limits"]["memory"])


def test_pods_scale_by_their_sessions_and_by_cpu_where_nothing_counts_them():
    def metrics(**sessions: Any) -> list[str]:
        objects = rendered(autoscaling={"enabled": True, "sessions": sessions})
        spec = objects["HorizontalPodAutoscaler blue-dreamserve"]["spec"]
        return [one["type"] for one in spec["metrics"]]

    assert metrics() == ["Resource"]
    assert metrics(enabled=True) == ["Pods", "Resource"]
    adapter = yaml.safe_load((CHART.parents[1] / "kubernetes/prometheus-adapter.yaml").read_text())
    (rule,) = adapter["rules"]["custom"]
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert rule["name"]["as"] == values["autoscaling"]["sessions"]["metric"]


def test_the_ingress_hashes_what_the_snippet_of_nginx_computes():
    ingress = rendered(ingress={"enabled": True})["Ingress blue-dreamserve"]
    annotations = ingress["metadata"]["annotations"]
    hashed = annotations["nginx.ingress.kubernetes.io/upstream-hash-by"]
    routes = (CHART.parents[1] / "nginx/routes.conf").read_text()
    assert re.search(rf"^map \S+ {re.escape(hashed)} ", routes, re.MULTILINE)


@pytest.mark.parametrize(
    "store",
    ["sqlite:/data/a.db", "redis://r:6379/0", "rediss://r", "unix:///run/redis/r.sock"],
)
def test_every_kind_of_store_is_accepted(store):
    environment = {one["name"]: one.get("value") for one in container(store=store)["env"]}
    assert environment[f"{PREFIX}STORE"] == store


def test_the_ingress_does_not_publish_metrics():
    values = {"ingress": {"enabled": True, "tlsSecret": "tls"}}
    public, metrics = (
        rendered(**values)[f"Ingress blue-dreamserve{suffix}"] for suffix in ("", "-metrics")
    )
    (rule,) = metrics["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/metrics", "Exact")
    allowed = metrics["metadata"]["annotations"][
        "nginx.ingress.kubernetes.io/whitelist-source-range"
    ]
    assert allowed == "127.0.0.1/32"  # nobody: the controller's own address
    assert metrics["spec"]["tls"] == public["spec"]["tls"]
    assert [one["host"] for one in public["spec"]["rules"]] == [rule["host"]]


def test_no_gateway_publishes_metrics():
    text = (CHART.parents[1] / "kubernetes/envoy-gateway.yaml").read_text()
    objects = {one["kind"]: one for one in yaml.safe_load_all(text)}
    first, *_ = objects["HTTPRoute"]["spec"]["rules"]
    assert first["matches"] == [{"path": {"type": "Exact", "value": "/metrics"}}]
    (filter_,) = first["filters"]
    named = objects["HTTPRouteFilter"]
    assert filter_["extensionRef"]["name"] == named["metadata"]["name"]
    assert named["spec"]["directResponse"]["statusCode"] == 404


def test_the_ingress_passes_bodies_of_the_server_s_limit_as_they_come():
    def annotations(**settings: Any) -> dict[str, str]:
        values = {"ingress": {"enabled": True, "annotations": OWN}, "settings": settings}
        found = rendered(**values)["Ingress blue-dreamserve"]["metadata"]["annotations"]
        return {name.removeprefix(OF_INGRESS): value for name, value in found.items()}

    OF_INGRESS = "nginx.ingress.kubernetes.io/"
    OWN = {f"{OF_INGRESS}proxy-read-timeout": "60"}
    default = annotations()
    assert default["proxy-request-buffering"] == "off"
    assert default["proxy-read-timeout"] == "60"  # the reader's own wins
    most = Settings().max_body_bytes
    assert most < int(default["proxy-body-size"]) < 1.1 * most
    assert 5e7 < int(annotations(max_body_bytes=50_000_000)["proxy-body-size"]) < 5.5e7


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_all_that_reaches_the_pods_speaks_what_they_speak(scheme):
    tls = {"tls_cert": "/tls/tls.crt", "tls_key": "/tls/tls.key"}
    values = {
        "settings": tls if scheme == "https" else {"tls_cert": ""},
        "ingress": {"enabled": True},
        "metrics": {"serviceMonitor": {"enabled": True}},
    }
    objects = rendered(**values)
    for name in ("blue-dreamserve", "blue-dreamserve-pods"):
        (port,) = objects[f"Service {name}"]["spec"]["ports"]
        assert port["appProtocol"] == scheme
    annotations = objects["Ingress blue-dreamserve"]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/backend-protocol"] == scheme.upper()
    for name in ("startup", "liveness", "readiness"):
        assert container(**values)[f"{name}Probe"]["httpGet"]["scheme"] == scheme.upper()
    (endpoint,) = objects["ServiceMonitor blue-dreamserve"]["spec"]["endpoints"]
    assert endpoint["scheme"] == scheme
    assert endpoint.get("tlsConfig") == {"https": {"insecureSkipVerify": True}}.get(scheme)
    verified = {"ca": {"secret": {"name": "ca", "key": "ca.crt"}}, "serverName": "dreams"}
    values["metrics"]["serviceMonitor"]["tlsConfig"] = verified
    (endpoint,) = rendered(**values)["ServiceMonitor blue-dreamserve"]["spec"]["endpoints"]
    assert endpoint.get("tlsConfig") == {"https": verified}.get(scheme)


def test_the_monitor_s_job_has_the_name_that_the_alerts_expect():
    objects = rendered(metrics={"serviceMonitor": {"enabled": True}})
    monitor = objects["ServiceMonitor blue-dreamserve"]["spec"]
    labels = objects["Service blue-dreamserve-pods"]["metadata"]["labels"]
    alerts = (ROOT / "deploy/prometheus/alerts.yaml").read_text()
    assert set(re.findall(r'job="([^"]*)"', alerts)) == {labels[monitor["jobLabel"]]}


def installed(commands: Callable[[str], list[str]]) -> dict[str, Any]:
    """Return what the command of docs/deploy.md makes."""
    (line,) = [line for line in commands("Kubernetes") if line.startswith("helm install ")]
    _, _, release, folder, *options = line.split()
    assert (ROOT / folder).resolve() == CHART
    assert options[::2] == ["--set"]
    name, value = options[1].split("=")
    assert name == "image.repository"
    return rendered(release, image={"repository": value})


def test_the_documented_installation_runs_the_image_that_is_built_before(commands):
    made = installed(commands)["Deployment dreamserve"]["spec"]["template"]["spec"]
    (image,) = {one["image"] for one in made["containers"]}
    assert f"docker build --tag {image} ." in commands("Kubernetes")
    assert f"docker push {image}" in commands("Kubernetes")


@pytest.mark.parametrize("name", ["istio", "envoy-gateway"])
def test_the_files_for_gateways_name_services_of_the_documented_installation(name, commands):
    def backends(node: Any) -> Iterator[tuple[str, int | None]]:
        if isinstance(node, list):
            for one in node:
                yield from backends(one)
        elif isinstance(node, dict):
            for key, one in node.items():
                if key == "backendRefs":
                    yield from ((ref["name"], ref["port"]) for ref in one)
                elif key == "host":
                    yield one, None
                elif key == "hosts":
                    yield from ((host, None) for host in one)
                else:
                    yield from backends(one)

    made = installed(commands)
    text = (ROOT / f"deploy/kubernetes/{name}.yaml").read_text()
    named = set(backends(list(yaml.safe_load_all(text))))
    assert named
    for service, port in named:
        ports = {one["port"] for one in made[f"Service {service}"]["spec"]["ports"]}
        assert port is None or port in ports


def test_the_chart_has_the_version_of_the_server():
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert described["version"] == described["appVersion"] == dreamserve.__version__
