"""What a host says at /metrics, read without a Prometheus: the text format 0.0.4."""

import re
import urllib.request
from dataclasses import dataclass, field

LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)",?')
ESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
PARTS = ("_bucket", "_count", "_sum")


@dataclass
class Family:
    name: str
    kind: str
    help: str
    series: dict = field(default_factory=dict)  # {(name, ((label, value), …)): value}


class Metrics:
    """One answer."""

    def __init__(self, text):
        self.text, self.families, helps = text, {}, {}
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name, helps[name] = line[7:].split(" ", 1)[0], line[7:].partition(" ")[2]
            elif line.startswith("# TYPE "):
                name, kind = line[7:].split(" ")
                assert name not in self.families, f"{name} stands twice"
                self.families[name] = Family(name, kind, helps.get(name, ""))
            elif line:
                name, labels, value = LINE.fullmatch(line).groups()
                labels = tuple(sorted((k, re.sub(r"\\.", lambda m: ESCAPED[m[0]], v))
                                      for k, v in LABEL.findall(labels or "")))
                series = self._family(name).series
                assert (name, labels) not in series, f"{line} stands twice"
                series[name, labels] = float(value)

    def _family(self, name):
        whole = next((name.removesuffix(part) for part in PARTS if name.endswith(part)), name)
        return self.families[whole if whole in self.families else name]

    def __call__(self, name, **labels):
        """The sum of the series that have these labels; none if there are none."""
        found = self.by(name, None, **labels).values()
        return sum(found) if found else None

    def by(self, name, label, **labels):
        """{value of the label, or of all: sum}"""
        if name not in self.families and not any(name.endswith(part) for part in PARTS):
            return {}
        sums = {}
        for (of, has), value in self._family(name).series.items():
            if of == name and labels.items() <= dict(has).items():
                key = dict(has)[label] if label else has
                sums[key] = sums.get(key, 0) + value
        return sums

    def labels(self, name):
        """{label: its values} of a metric, those of a histogram's bounds apart."""
        found = {}
        for _, labels in self.families[name].series:
            for label, value in labels:
                if label != "le":
                    found.setdefault(label, set()).add(value)
        return found


class Scraper:
    """Asks one host again and again; what counts must never go back."""

    def __init__(self, port):
        self.url, self.last = f"http://127.0.0.1:{port}/metrics", None

    def __call__(self):
        with urllib.request.urlopen(self.url, timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            now = Metrics(answer.read().decode())
        for family in now.families.values():
            if family.kind in ("counter", "histogram") and self.last and family.name in self.last.families:
                for series, before in self.last.families[family.name].series.items():
                    after = family.series.get(series)
                    assert after is not None, f"{series} is gone"
                    assert after >= before or series[0].endswith("_sum"), f"{series} went back: {before}, then {after}"
        self.last = now
        return now
