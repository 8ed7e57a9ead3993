"""One JUnit test case per gate, for CI systems that list test results."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from xml.etree import ElementTree as ET

from equiaudit.report import words
from equiaudit.report.escape import visible
from equiaudit.report.options import Options
from equiaudit.results import Result


@dataclass(frozen=True)
class JunitReport:
    """A failed gate is a failure; an inconclusive or unjudged one is skipped.

    Under `Options.strict` an inconclusive gate is a failure too. Valid for the schemas of Ant and
    of Jenkins, of which the former is the stricter: it wants every attribute and element of a
    suite, in this order, a timestamp without a zone, and none on the root.
    """

    file: str = "junit.xml"

    def render(self, result: Result, options: Options) -> str:
        """The document, with one suite."""
        cases = _cases(result, options.strict)
        suite = ET.Element("testsuite", _attributes(result, cases))
        suite.append(_properties(result))
        suite.extend(cases)
        suite.extend([ET.Element("system-out"), ET.Element("system-err")])
        root = ET.Element("testsuites")
        root.append(suite)
        ET.indent(root)
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "unicode") + "\n"


FORMAT = JunitReport()


def _attributes(result: Result, cases: list[ET.Element]) -> dict[str, str]:
    counts = Counter(child.tag for case in cases for child in case)
    return {
        "name": "equiaudit",
        "package": "equiaudit",
        "id": "0",
        "timestamp": _timestamp(result.timings.started),
        "hostname": "localhost",
        "tests": str(len(cases)),
        "failures": str(counts["failure"]),
        "errors": "0",
        "skipped": str(counts["skipped"]),
        "time": f"{max(result.timings.seconds, 0.0):.3f}",
    }


def _timestamp(started: str) -> str:
    """In UTC and without a zone, as the schema has it."""
    try:
        found = datetime.fromisoformat(started)
    except ValueError:
        found = datetime.fromtimestamp(0, UTC)
    moment = found.astimezone(UTC) if found.tzinfo else found
    return moment.replace(tzinfo=None).isoformat(timespec="seconds")


def _properties(result: Result) -> ET.Element:
    mark = result.fingerprint
    known = {
        "model": visible(mark.model),
        "model SHA-256": visible(mark.model_sha256),
        "data SHA-256": visible(mark.data_sha256),
        "images": f"{mark.n_images}",
    }
    properties = ET.Element("properties")
    for name, value in known.items():
        ET.SubElement(properties, "property", name=name, value=value)
    return properties


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
