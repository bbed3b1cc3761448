#!/usr/bin/env python3
"""Compares docs/metrics.md with what names its metrics: the dashboard, the rules and their tests. Needs Python alone."""

import json
import re
import sys
from pathlib import Path

OPS = Path(__file__).resolve().parent
METRICS = OPS.parent / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]+?) *\| ([^|]*?) *\| (.+) \|$", re.M)
PARTS = {"histogram": ("_bucket", "_count", "_sum")}
OURS = re.compile(r"\b(?:tidemill|process)_\w+")
SELECTOR = re.compile(r"\b((?:tidemill|process)_\w+)\{([^}]*)\}")
TARGET = {"job", "instance"}  # labels that Prometheus adds


class Metric:
    def __init__(self, name, kind, unit, labels, meaning):
        self.name, self.kind, self.unit, self.meaning = name, kind, unit, meaning
        self.labels = set(re.findall(r"`(\w+)`", labels))


def documented():
    """{name: Metric} of the table."""
    rows = [Metric(*row) for row in ROW.findall(METRICS.read_text())]
    names = [metric.name for metric in rows]
    assert len(names) == len(set(names)) > 0, "a metric stands twice in docs/metrics.md"
    return {metric.name: metric for metric in rows}


def series(metrics):
    """{name of a series: Metric}: a histogram has three."""
    return {metric.name + part: metric for metric in metrics.values() for part in PARTS.get(metric.kind, ("",))}


def expressions(value):
    """All queries of a dashboard."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("expr", "query", "definition") and isinstance(inner, str):
                yield inner
            else:
                yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


def wrong(where, expression, known):
    """What this query names that no host exposes."""
    for name in OURS.findall(expression):
        if name not in known:
            yield f"{where}: {name} is not in docs/metrics.md"
    for name, labels in SELECTOR.findall(expression):
        # What stands in quotes is a value: no label.
        for label in re.findall(r'(\w+) *(?:=~|!~|!=|=)', re.sub(r'"[^"]*"', '""', labels)):
            if name in known and label not in known[name].labels | TARGET | ({"le"} if name.endswith("_bucket") else set()):
                yield f"{where}: {name} has no label {label}"
    labels = set().union(*(known[name].labels for name in OURS.findall(expression) if name in known), TARGET, {"le"})
    for group in re.findall(r"\b(?:by|on|without|ignoring) *\(([^)]*)\)", expression):
        for label in filter(None, re.split(r"[ ,]+", group)):
            if label not in labels:
                yield f"{where}: no metric of this query has the label {label}"


def main():
    metrics = documented()
    known, found = series(metrics), []
    dashboard = json.loads((OPS / "grafana.json").read_text())
    queries = list(expressions(dashboard))
    for query in queries:
        found += wrong("grafana.json", query, known)
    shown = {known[name].name for query in queries for name in OURS.findall(query) if name in known}
    found += [f"grafana.json: shows nothing of {name}" for name in metrics if name not in shown]

    rules, tests = (OPS / "alerts.yml").read_text(), (OPS / "alerts_test.yml").read_text()
    blocks = re.split(r"\n *- alert: ", rules)[1:]
    for block in blocks:
        alert, expression = block.split("\n")[0], block.split("labels:")[0]
        found += wrong(f"alerts.yml: {alert}", expression, known)
        found += [f"alerts.yml: {alert} has no {key}" for key in ("summary", "description", "runbook")
                  if not re.search(rf"^ *{key}: \S", block, re.M)]
        if "tidemill " not in block.split("runbook:")[-1]:
            found.append(f"alerts.yml: the runbook of {alert} names no command")
        if not re.search(rf"alertname: {alert}\n *eval_time: .*\n *exp_alerts:\n *- ", tests):
            found.append(f"alerts_test.yml: no test in which {alert} fires")
        if not re.search(rf"alertname: {alert}, .*exp_alerts: \[\]", tests):
            found.append(f"alerts_test.yml: no test in which {alert} does not fire")
    for line in re.findall(r"series: '(.+)', values", tests):
        found += wrong("alerts_test.yml", line, known)

    print(f"{len(metrics)} metrics, {len(queries)} queries of the dashboard, {len(blocks)} rules")
    for line in dict.fromkeys(found):
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
