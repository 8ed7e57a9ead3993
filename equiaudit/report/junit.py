"""One JUnit test case per gate, for CI systems that list test results."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import count
from xml.etree import ElementTree as ET

from equiaudit.report import words
from equiaudit.report.escape import visible
from equiaudit.report.options import Options
from equiaudit.results import Result

__all__ = ["JunitReport"]


@dataclass(frozen=True)
class JunitReport:
    """A failed gate is a failure; an inconclusive or unjudged one is skipped.

    Under `Options.strict` an inconclusive gate is a failure too.
    """

    name: str = "junit"
    suffix: str = ".xml"

    def render(self, result: Result, options: Options) -> str:
        """The document, with one suite."""
        suite = ET.Element("testsuite", name="equiaudit")
        for case in _cases(result, options.strict):
            suite.append(case)
        counts = Counter(child.tag for case in suite for child in case)
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(counts["failure"]))
        suite.set("errors", "0")
        suite.set("skipped", str(counts["skipped"]))
        suite.set("time", "0")
        suite.set("timestamp", visible(result.timings.started))
        root = ET.Element("testsuites")
        root.append(suite)
        ET.indent(root)
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _cases(result: Result, strict: bool) -> list[ET.Element]:
    names: set[str] = set()
    found = []
    for gate in words.gate_rows(result):
        name = _unused(gate.expression, names)
        names.add(name)
        found.append(_case(visible(result.fingerprint.model), name, gate, strict))
    return found


def _unused(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    return next(new for i in count(2) if (new := f"{name} ({i})") not in taken)


def _case(model: str, name: str, gate: words.GateRow, strict: bool) -> ET.Element:
    case = ET.Element("testcase", classname=f"equiaudit.{model}", name=name, time="0")
    measured = f"measured {gate.measured}; " if gate.measured else ""
    said = f"{gate.verdict}: {measured}{gate.reason}"
    if gate.verdict == "fail" or (strict and gate.verdict == "inconclusive"):
        ET.SubElement(case, "failure", message=said, type=gate.verdict).text = said
    elif gate.verdict != "pass":
        ET.SubElement(case, "skipped", message=said)
    return case
