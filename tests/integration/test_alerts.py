"""The shipped alerts and dashboard: promtool's opinion, and that they speak of metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from replicator.service.board import StatusBoard
from replicator.service.metrics import Metrics
from replicator.service.mirror_board import MirrorBoard

PROJECT = Path(__file__).parents[2]
ALERTS = PROJECT / "conf/alerts.yml"
DASHBOARD = PROJECT / "conf/grafana-dashboard.json"
ALERTS_TEST = PROJECT / "tests/fixtures/alerts_test.yml"


def exported() -> set[str]:
    """Return the names that a query may use."""
    suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    families = text_string_to_metric_families(Metrics(StatusBoard([]), mirrors=MirrorBoard([])).render().decode())
    return {family.name + suffix for family in families for suffix in suffixes[family.type]}


def expressions() -> dict[Path, str]:
    """Return the queries in each of the files."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {
        ALERTS: "\n".join(re.findall(r"^ +expr: (.+)$", ALERTS.read_text(), re.MULTILINE)),
        DASHBOARD: "\n".join(target["expr"] for panel in panels for target in panel["targets"]),
    }


def promtool(*arguments: object) -> str:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_sound() -> None:
    assert "SUCCESS" in promtool("check", "rules", ALERTS)


def test_alerts_fire_when_they_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", ALERTS_TEST)


def test_each_alert_is_tried_both_ways() -> None:
    tried = ALERTS_TEST.read_text()
    for alert in re.findall(r"- alert: (\w+)", ALERTS.read_text()):
        assert re.search(rf"- {{alertname: {alert}, eval_time: \w+}}", tried), f"{alert} is never silent"
        assert re.search(rf"- alertname: {alert}\n +eval_time: \w+\n +exp_alerts:", tried), f"{alert} never fires"


@pytest.mark.parametrize("path", [ALERTS, DASHBOARD], ids=lambda path: path.name)
def test_they_use_metrics_that_are_exported(path: Path) -> None:
    used = set(re.findall(r"\breplicator_\w+", expressions()[path]))
    assert used
    assert used - exported() == set()


def test_all_that_is_exported_is_on_the_dashboard() -> None:
    shown = set(re.findall(r"\breplicator_\w+", expressions()[DASHBOARD]))
    missing = exported() - shown
    assert missing == {
        "replicator_checkpoint_duration_seconds_sum",
        "replicator_checkpoint_duration_seconds_count",
    }


def test_queries_of_the_dashboard_can_be_parsed(tmp_path: Path) -> None:
    plain = expressions()[DASHBOARD].replace("$__rate_interval", "5m").replace("$", "")
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(plain.splitlines())]
    # JSON is YAML too.
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", tmp_path / "queries.yml")


def test_panels_do_not_lie_on_each_other() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    places = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places))
    assert len({panel["id"] for panel in panels}) == len(panels)
