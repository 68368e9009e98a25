#!/usr/bin/python3
"""Checks the Grafana dashboard and the alert rules; Python's standard library only.

check_dashboard.py                   its structure, and that every metric named is one that server/*.cc exports
check_dashboard.py --prometheus URL  that every query brings figures from this Prometheus, asked as Grafana would ask:
                                     variables take the values that their own queries return. Rules must be loaded there.
Prints a line for each fault, then `N passed, N failed`; the exit status is 1 after a fault.
"""

import argparse
import itertools
import json
import math
import pathlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "deploy/grafana/tessera.json"
RULES = ROOT / "deploy/prometheus/alerts.yml"
METRIC = re.compile(r"\b(?:tessera|process)_[a-z0-9_]+\b")
LABEL_VALUES = re.compile(r"label_values\((?P<series>.+), (?P<label>\w+)\)")


class Report:
    """Counts checks and prints those that fail."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, what, fault):
        """`fault` is None or empty when the check passes, else what is wrong."""
        if fault:
            self.failed += 1
            print(f"FAILED {what}: {fault}")
        else:
            self.passed += 1


def queries(dashboard):
    """(panel title, target) of every query."""
    return [(panel["title"], target) for panel in dashboard["panels"] for target in panel.get("targets", [])]


def variables(dashboard):
    return [v for v in dashboard["templating"]["list"] if v["type"] == "query"]


# Structure.


def exported_metrics():
    """Names of the server's metrics, from its source; for histograms also those of their series."""
    names = set()
    for path in sorted((ROOT / "server").glob("*.cc")):
        text = path.read_text()
        names.update(re.findall(r'"((?:tessera|process)_[a-z0-9_]+)"', text))
        for name in re.findall(r'AddHistogram\(\s*"([a-z0-9_]+)"', text):
            names.update(name + suffix for suffix in ("_bucket", "_sum", "_count"))
    return names


def overlap(a, b):
    a, b = a["gridPos"], b["gridPos"]
    return (
        a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]
    )


def check_layout(dashboard, report):
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    titles = [panel["title"] for panel in panels]
    report.check("uid", None if dashboard["uid"] else "empty")
    report.check("panel ids", None if len(set(ids)) == len(ids) else "not unique")
    report.check("panel titles", None if len(set(titles)) == len(titles) else "not unique")
    clashes = [f'{a["title"]} and {b["title"]}' for a, b in itertools.combinations(panels, 2) if overlap(a, b)]
    report.check("layout", ", ".join(clashes))
    wide = [panel["title"] for panel in panels if panel["gridPos"]["x"] + panel["gridPos"]["w"] > 24]
    report.check("width", ", ".join(wide))
    for panel in panels:
        if panel["type"] != "row":
            complete = panel.get("targets") and panel.get("description") and panel["fieldConfig"]["defaults"].get("unit")
            report.check(panel["title"], None if complete else "lacks queries, a description or a unit")


def check_datasources(dashboard, report):
    known = {variable["name"] for variable in dashboard["templating"]["list"]}
    report.check("DS_PROMETHEUS", None if "DS_PROMETHEUS" in known else "no such variable")
    for title, target in queries(dashboard):
        report.check(title, None if target["datasource"]["uid"] == "${DS_PROMETHEUS}" else "another data source")
        used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval", "__range"}
        report.check(title, ", ".join(sorted(used - known)))


def check_names(dashboard, report):
    exported = exported_metrics()
    texts = [(title, target["expr"]) for title, target in queries(dashboard)]
    texts += [(variable["name"], variable["query"]["query"]) for variable in variables(dashboard)]
    rules = "\n".join(line for line in RULES.read_text().splitlines() if not line.lstrip().startswith("#"))
    texts.append(("alerts.yml", rules))
    for what, text in texts:
        unknown = sorted(set(METRIC.findall(text)) - exported)
        report.check(what, "no such metric: " + ", ".join(unknown) if unknown else None)


# Against a running Prometheus.


class Prometheus:
    def __init__(self, url):
        self.url = url.rstrip("/")

    def get(self, path, **parameters):
        """The answer's `data`; a refused query's reason comes as a ValueError."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=30) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", str(error))) from error


def substitute(text, values, window):
    text = text.replace("$__rate_interval", window).replace("$__range", window)
    for name, value in values.items():
        text = text.replace(f"${name}", value)
    return text


def resolve_variables(dashboard, prometheus, report):
    """Name -> value as Grafana would put it in: the first one, or all as a regular expression."""
    values = {}
    for variable in variables(dashboard):
        match = LABEL_VALUES.fullmatch(variable["query"]["query"])
        series = substitute(match["series"], values, "1m")
        found = prometheus.get(f"label/{match['label']}/values", **{"match[]": series})
        report.check(f"variable {variable['name']}", None if found else "no values")
        found = found or ["none"]
        # A regular expression inside a PromQL string: escaped twice.
        choice = "(" + "|".join(re.escape(v) for v in found) + ")" if variable["multi"] else found[0]
        values[variable["name"]] = choice.replace("\\", "\\\\")
    return values


def find_fault(target, expression, prometheus):
    """What is wrong with a query's answer, or None."""
    try:
        result = prometheus.get("query", query=expression)["result"]
    except ValueError as error:
        return f"{error} in {expression}"
    if not result:
        return f"no data for {expression}"
    if not any(math.isfinite(float(series["value"][1])) for series in result):
        return f"no finite figure for {expression}"
    missing = [label for label in re.findall(r"{{(\w+)}}", target["legendFormat"]) if label not in result[0]["metric"]]
    return f"the legend's labels {missing} are not in the answer" if missing else None


def check_queries(dashboard, prometheus, window, report):
    known = set(prometheus.get("label/__name__/values"))
    values = resolve_variables(dashboard, prometheus, report)
    for title, target in queries(dashboard):
        expression = substitute(target["expr"], values, window)
        unknown = sorted(set(METRIC.findall(expression)) - known)
        report.check(f"{title}: names", ", ".join(unknown))
        report.check(title, find_fault(target, expression, prometheus))


def check_rules(prometheus, report):
    known = set(prometheus.get("label/__name__/values"))
    groups = prometheus.get("rules", type="alert")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    report.check("rules", None if rules else "none is loaded")
    for rule in rules:
        report.check(f"alert {rule['name']}", rule.get("lastError") if rule["health"] != "ok" else None)
        unknown = sorted(set(METRIC.findall(rule["query"])) - known)
        report.check(f"alert {rule['name']}: names", ", ".join(unknown))
        report.check(f"alert {rule['name']}: quiet", None if rule["state"] != "firing" else "fires")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", metavar="URL", help="such as http://127.0.0.1:9090")
    parser.add_argument("--window", default="1m", help="time range of rates, within which there was traffic (1m)")
    arguments = parser.parse_args()
    report = Report()
    dashboard = json.loads(DASHBOARD.read_text())
    if arguments.prometheus:
        prometheus = Prometheus(arguments.prometheus)
        check_queries(dashboard, prometheus, arguments.window, report)
        check_rules(prometheus, report)
    else:
        check_layout(dashboard, report)
        check_datasources(dashboard, report)
        check_names(dashboard, report)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
