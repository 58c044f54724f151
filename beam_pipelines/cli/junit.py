"""Results of tests as the XML that JUnit made the common form of, and that every CI reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from beam_pipelines.engine.cases.case import Verdict

__all__ = ["write"]


def write(path: str, service: str, verdicts: Sequence[Verdict], redact: Callable[[str], str]) -> None:
    """Write the file.

    Args:
        path: Of it.
        service: Id of the service, the class name of its tests.
        verdicts: Of its tests.
        redact: Takes secrets out of a text.
    """
    seconds = sum(verdict.seconds for verdict in verdicts)
    failures, errors = (sum(map(bool, found)) for found in ([v.differences for v in verdicts], [v.error for v in verdicts]))
    counts = {"tests": len(verdicts), "failures": failures, "errors": errors, "time": f"{seconds:.3f}"}
    suite = ElementTree.Element("testsuite", {"name": service, **{name: str(count) for name, count in counts.items()}})
    for verdict in verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname=service, name=verdict.name, time=f"{verdict.seconds:.3f}")
        if verdict.error is not None:
            told = [str(verdict.error), *(f"{problem.path}: {problem.message}" for problem in getattr(verdict.error, "problems", ()))]
            _say(case, "error", told, redact)
        elif verdict.differences:
            _say(case, "failure", list(verdict.lines()), redact)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _say(case: ElementTree.Element, kind: str, lines: Sequence[str], redact: Callable[[str], str]) -> None:
    # XML 1.0 has no control characters, not even escaped.
    clean = [redact("".join(letter if letter.isprintable() else "\ufffd" for letter in line)) for line in lines]
    ElementTree.SubElement(case, kind, message=clean[0]).text = "\n".join(clean)
