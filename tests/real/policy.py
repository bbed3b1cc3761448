"""A policy of IAM, evaluated: what it allows, and which of it nobody needs.

No more of the language than the policies of this repository use; anything else is an error.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

import json
import re


def matches(pattern, text):
    """`*` and `?` as in ARNs."""
    parts = ("".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern))
    return re.fullmatch(parts, text, re.S) is not None


def holds(condition, context):
    for operator, wanted in condition.items():
        for key, values in wanted.items():
            value = dict(context).get(key)
            if operator == "StringLike":
                ok = value is not None and any(matches(v, value) for v in values)
            elif operator == "Null":
                ok = (value is None) == (values == "true")
            else:
                raise AssertionError(f"a condition that is not known here: {operator}")
            if not ok:
                return False
    return True


class Policy:
    def __init__(self, document):
        self.statements = (json.loads(document) if isinstance(document, str) else document)["Statement"]

    def _says(self, effect, action, resource, context):
        return any(s["Effect"] == effect and action in s["Action"] and any(matches(r, resource) for r in s["Resource"])
                   and holds(s.get("Condition", {}), context) for s in self.statements)

    def allows(self, call):
        """All of what a call needs; a denial goes before all else."""
        return all(self._says("Allow", call.action, resource, call.context)
                   and not self._says("Deny", call.action, resource, call.context) for resource in call.resources)

    def refused(self, calls):
        return sorted(str(call) for call in calls if not self.allows(call))

    def unused(self, calls, service=("s3", "glue")):
        """Rights of these services that no call needed: (action, resource pattern) of each."""
        found = []
        for s in self.statements:
            for action in s["Action"]:
                if s["Effect"] != "Allow" or action.split(":")[0] not in service:
                    continue
                for pattern in s["Resource"]:
                    if not any(call.action == action and any(matches(pattern, r) for r in call.resources)
                               for call in calls):
                        found.append(f"{action} on {pattern}")
        return sorted(found)
