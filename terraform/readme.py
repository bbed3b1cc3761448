#!/usr/bin/env python3
"""Writes what the README of each module says of its inputs and outputs, from its .tf files; needs Python alone.

    terraform/readme.py            writes
    terraform/readme.py --check    exits with 1 if one is not as it would be written
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULES = [HERE, *(HERE / "modules" / name for name in ("lake", "catalog", "kafka", "runtime")),
           *(HERE / "examples" / name for name in ("minimal", "complete"))]
BEGIN, END = "<!-- BEGIN_TF_DOCS -->", "<!-- END_TF_DOCS -->"
BLOCK = re.compile(r'^(variable|output|resource|data|module) ((?:"[^"]+" ?)+)\{\n(.*?)^\}', re.M | re.S)
ATTRIBUTE = re.compile(r"^  (\w+) += (.*?)(?=^  (?:\w+ +=|\w+ \{)|\Z)", re.M | re.S)
HEREDOC = re.compile(r"<<-?(\w+)\n(.*?)^ *\1$", re.M | re.S)


class Block:
    """One of a module's blocks: its kind, its labels, and its attributes as text."""

    def __init__(self, kind, labels, body):
        self.kind, self.labels = kind, re.findall(r'"([^"]+)"', labels)
        self.attributes = {name: value.strip() for name, value in ATTRIBUTE.findall(body)}

    def text(self, name):
        """A string, without its quotes."""
        value = self.attributes.get(name, "")
        heredoc = HEREDOC.search(value + "\n")
        if heredoc:
            return " ".join(line.strip() for line in heredoc[2].strip().splitlines())
        return re.sub(r'\\(["\\])', r"\1", value.strip('"'))


def blocks(module):
    found = [Block(*match) for path in sorted(module.glob("*.tf")) for match in BLOCK.findall(path.read_text())]
    for block in found:
        if block.kind in ("variable", "output"):
            assert block.text("description"), f"{module.name}: {block.kind} {block.labels[0]} has no description"
        if block.kind == "variable":
            assert "type" in block.attributes, f"{module.name}: variable {block.labels[0]} has no type"
    return found


def code(text):
    """Code in the cell of a table: on one line, comments left out."""
    lines = [line.split(" #")[0].strip() for line in text.splitlines()]
    one = " ".join(line for line in lines if line)
    return "`" + re.sub(r"\s+", " ", one).replace("|", "\\|") + "`"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def constraint(module, pattern):
    return re.search(pattern, (module / "versions.tf").read_text())[1]


def reference(module):
    """The part of a README that is generated."""
    found = blocks(module)
    of = lambda kind: sorted((block for block in found if block.kind == kind), key=lambda block: block.labels)
    lines = ["## Requirements", "", *table(("name", "version"), [
        ("terraform", code(constraint(module, r'required_version = "([^"]+)"'))),
        ("hashicorp/aws", code(constraint(module, r' version += "([^"]+)"'))),
    ])]
    if of("module"):
        lines += ["", "## Modules", "", *table(("name", "source"), [
            (f"`{block.labels[0]}`", code(block.text("source"))) for block in of("module")])]
    if of("resource"):
        lines += ["", "## Resources", "", *table(("type", "name"), [
            (f"`{block.labels[0]}`", f"`{block.labels[1]}`") for block in of("resource")])]
    lines += ["", "## Inputs", "", *table(("name", "description", "type", "default", "required"), [
        (f"`{block.labels[0]}`", block.text("description").replace("|", "\\|"), code(block.attributes["type"]),
         code(block.attributes["default"]) if "default" in block.attributes else "", "no" if "default" in block.attributes else "yes")
        for block in of("variable")])]
    lines += ["", "## Outputs", "", *table(("name", "description"), [
        (f"`{block.labels[0]}`", block.text("description").replace("|", "\\|")) for block in of("output")])]
    return "\n".join(lines)


def main():
    stale = []
    for module in MODULES:
        path = module / "README.md"
        before = path.read_text()
        assert before.count(BEGIN) == before.count(END) == 1, f"{path} needs the lines {BEGIN} and {END}, once each"
        head, rest = before.split(BEGIN)
        after = f"{head}{BEGIN}\n{reference(module)}\n{END}{rest.split(END)[1]}"
        if after != before:
            stale.append(path.relative_to(HERE.parent))
            if "--check" not in sys.argv:
                path.write_text(after)
    for path in stale:
        print(f"{path}: " + ("not as its module is; run terraform/readme.py" if "--check" in sys.argv else "written"))
    print(f"{len(MODULES)} modules, {len(stale)} stale")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
