"""The dashboard and the alert rules: their queries are PromQL over metrics that servers have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dreamserve.api.metrics import METRICS, registry_of
from dreamserve.api.service import Service
from dreamserve.engine.configured import engine_of
from dreamserve.engine.fake import fake_world
from dreamserve.engine.histogram import NATS, ROWS, SECONDS
from dreamserve.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
OF_PROMETHEUS = {"up": {"job", "instance"}}  # metrics that Prometheus adds itself
ADDED = {"job", "instance", "le"}  # labels that it, or a histogram, adds


def in_panel(panel: dict[str, Any]) -> Iterator[str]:
    """Return a panel's queries with Grafana's variables replaced."""
    for target in panel["targets"]:
        yield target["expr"].replace("$__rate_interval", "1m").replace("$", "")


QUERIES = [
    *((rule["alert"], rule["expr"]) for rule in ALERTS),
    *((panel["title"], expr) for panel in PANELS for expr in in_panel(panel)),
]


def selectors(node: Any) -> Iterator[promql.VectorSelector]:
    """Return the selectors in a query."""
    if isinstance(node, promql.VectorSelector):
        yield node
    for name in ("lhs", "rhs", "expr", "args", "vector_selector"):
        child = getattr(node, name, None)
        for one in child if isinstance(child, list) else [child]:
            if one is not None:
                yield from selectors(one)


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """Return the labels of every sample's name that a server exposes or may expose."""
    settings = Settings()
    service = Service(engine_of([fake_world()], settings), settings)
    text = generate_latest(registry_of(service)).decode()
    found = dict(OF_PROMETHEUS)
    for family in text_string_to_metric_families(text):
        row = next((row for row in METRICS if row.name.removesuffix("_total") == family.name), None)
        labels = ADDED | set(row.labels if row else ())
        kinds = {
            "histogram": ("_bucket", "_sum", "_count"),
            "counter": ("_total",),
        }.get(family.type, ("",))
        found |= {f"{family.name}{suffix}": labels for suffix in kinds}
    return found


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_a_query_is_about_metrics_and_labels_that_servers_have(
    where: str, query: str, exposed: dict[str, set[str]]
) -> None:
    found = list(selectors(promql.parse(query)))
    assert found
    for selector in found:
        assert selector.name in exposed, f"{where}: no metric {selector.name}"
        labels = {matcher.name for matcher in selector.matchers.matchers}
        assert labels <= exposed[selector.name], f"{where}: {selector.name} has no {labels}"
        for matcher in selector.matchers.matchers:
            if matcher.name == "le" and matcher.value != "+Inf":
                assert float(matcher.value) in {*SECONDS, *ROWS, *NATS}


def test_a_query_over_a_metric_that_does_not_exist_is_found(exposed: dict[str, set[str]]) -> None:
    (selector,) = selectors(promql.parse("sum(rate(dreamserve_dreams_total[5m]))"))
    assert selector.name not in exposed


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS) >= 8
    for rule in ALERTS:
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[sm]", rule["for"])
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "runbook"}
        assert len(rule["annotations"]["runbook"]) > 40


def test_the_dashboard_is_complete_and_its_panels_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        own = {
            (at["x"] + column, at["y"] + line)
            for column in range(at["w"])
            for line in range(at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not own & cells, panel["title"]
        cells |= own


def test_every_metric_is_on_the_dashboard_or_says_what_a_server_is() -> None:
    shown = {one.name for _, query in QUERIES for one in selectors(promql.parse(query))}
    hidden = {
        row.name
        for row in METRICS
        if not any(name.startswith(row.name) for name in shown) and not row.name.endswith("_info")
    }
    assert not hidden
