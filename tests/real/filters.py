"""The filter patterns of CloudWatch Logs, as far as this repository writes them: `{ $.a = "b" && $.c >= 0 }`.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

import json
import re

TERM = re.compile(r'\$\.(\w+) *(=|>=) *(?:"([^"]*)"|(-?[\d.]+))')


def _number(value):
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def selected(pattern, line):
    """The event of a line that the pattern matches, else none."""
    inner = re.fullmatch(r"\{ (.*) \}", pattern)
    assert inner, f"no pattern on JSON: {pattern}"
    try:
        event = json.loads(line)
    except ValueError:
        return None
    for term in inner[1].split(" && "):
        parsed = TERM.fullmatch(term)
        assert parsed, f"a term that is not known here: {term}"
        field, operator, text, number = parsed.groups()
        value = event.get(field) if isinstance(event, dict) else None
        if text is not None:
            ok = operator == "=" and value == text
        else:
            value = _number(value)
            ok = value is not None and (value >= float(number) if operator == ">=" else value == float(number))
        if not ok:
            return None
    return event


def values(filter, lines):
    """What a metric filter, as `describe_metric_filters` tells it, publishes for these lines."""
    (made,) = filter["metricTransformations"]
    field = re.fullmatch(r"\$\.(\w+)", made["metricValue"])[1]
    events = (selected(filter["filterPattern"], line) for line in lines)
    return [_number(event[field]) for event in events if event is not None]
