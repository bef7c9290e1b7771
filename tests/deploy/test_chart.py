"""The Helm chart, rendered by Helm's own library and checked by the schemas of Kubernetes."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import dreamserve
from dreamserve.settings import PREFIX, Settings
from dreamserve_protocol.pages import PAGES

helm_python = pytest.importorskip("helm_python", reason="needs requirements-dev.txt on Linux")
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs requirements-dev")
CHART = Path(__file__).parents[2] / "deploy/helm/dreamserve"
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


def rendered(**values: Any) -> dict[str, Any]:
    """Return the objects that the chart makes, by kind and name."""
    with helm_python.chart.Chart.load(CHART) as chart:
        files = chart.render(values=values, name="blue", namespace="dreams")
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
    assert len(checked) == (8 if values else 5)
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
    assert limits == {"memory": "1Gi", "nvidia.com/gpu": "1"}


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


def test_the_chart_has_the_version_of_the_server():
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert described["version"] == described["appVersion"] == dreamserve.__version__
