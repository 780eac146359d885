# -*- test-case-name: tests.config.test_load -*-
"""
From text to a checked section.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from meshproxy.config import declarations  # noqa: F401  # declares what is implemented
from meshproxy.config.constraints import checkConstraints
from meshproxy.config.jsontext import parseJSON
from meshproxy.config.nodes import Node, Place
from meshproxy.config.pool import newMessage
from meshproxy.config.report import Report
from meshproxy.config.section import Section
from meshproxy.config.supported import supported
from meshproxy.config.walker import Places, Walker
from meshproxy.config.yamltext import parseYAML
from meshproxy.errors import ConfigErrors

__all__ = [
    "BOOTSTRAP",
    "BUILT_IN",
    "CONFIG_YAML",
    "checkedSection",
    "loadBootstrap",
    "readBootstrap",
    "readFile",
    "sectionFromYAML",
]

#: The message that a bootstrap is.
BOOTSTRAP: Final = "envoy.config.bootstrap.v3.Bootstrap"

#: What is declared before any filter is loaded.
BUILT_IN: Final = supported.copy()

#: How errors name the text that the option of this name gave.
CONFIG_YAML: Final = "--config-yaml"


def loadBootstrap(
    path: str | Path | None = None, text: str | None = None, allowUnknown: bool = False, report: Report | None = None
) -> Section:
    """
    Read, merge and check a bootstrap.

    @param path: A file in YAML, or in JSON if it is named C{.json}.
    @param text: YAML that is merged over the file as protobuf merges: scalars replace, lists append, messages merge.
        Either is enough alone.
    @param allowUnknown: Only warn of fields that are unknown or not implemented.
    @param report: Takes the faults and the warnings; the section has it in any case.

    @raise ConfigErrors: With every fault that was found.
    """
    section = readBootstrap(path, text, allowUnknown, report)
    section.report.raiseIfAny()
    return section


def readBootstrap(
    path: str | Path | None = None, text: str | None = None, allowUnknown: bool = False, report: Report | None = None
) -> Section:
    """
    The same as L{loadBootstrap}, for who compiles it and finds what else is wrong: faults are in the section's report,
    and what they are about is not in the section.

    @raise ConfigErrors: If there is nothing to go on with: a file that cannot be read, or is not of its format.
    """
    report = Report() if report is None else report
    nodes: list[Node] = []
    if path is not None:
        nodes.append(_notEmpty(readFile(Path(path), report)))
    if text:
        nodes.append(parseYAML(text, CONFIG_YAML, report.addWarning))
    section = _merged(BOOTSTRAP, nodes, report, allowUnknown)
    checkConstraints(section)
    supported.check(section, allowUnknown)
    report.endReading()
    return section


def _notEmpty(node: Node) -> Node:
    """
    Refuse a file without anything in it, as Envoy does: it is rarely meant.
    """
    if node.value is None:
        raise ConfigErrors([node.place.error("", "holds no configuration")])
    return node


def readFile(path: Path, report: Report) -> Node:
    """
    The nodes of a file.

    @raise ConfigErrors: If it cannot be read, or is not of its format.
    """
    name = str(path)
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
        raise ConfigErrors([Place(name, 0, 0).error("", why)]) from error
    except UnicodeDecodeError as error:
        raise ConfigErrors([Place(name, 0, 0).error("", f"is not UTF-8: {error.reason}")]) from error
    parse = parseJSON if path.suffix.lower() == ".json" else parseYAML
    return parse(text, name, report.addWarning)


def _merged(typeName: str, nodes: list[Node], report: Report, allowUnknown: bool) -> Section:
    """
    One message of several texts, each merged over those before it, with the places of all.
    """
    places: Places = {}
    message = newMessage(typeName)
    walker = Walker(report, places, allowUnknown)
    for node in nodes:
        if node.value is None:
            continue
        places.setdefault("", node.place)
        addition = newMessage(typeName)
        walker.fill(node, addition, "", message)
        message.MergeFrom(addition)
    return Section(message, "", report, places)


def checkedSection(typeName: str, node: Node, report: Report | None = None) -> Section:
    """
    Read a message of any type from nodes and hold it to its constraints, but not to what is implemented.

    @raise ConfigErrors: With every fault.
    """
    report = Report() if report is None else report
    section = _merged(typeName, [node], report, False)
    checkConstraints(section)
    report.raiseIfAny()
    return section


def sectionFromYAML(typeName: str, text: str, file: str | None = None, report: Report | None = None) -> Section:
    """
    Read one message of any type, for tests and tools: L{checkedSection} of a text.

    @param typeName: Its full name, such as C{envoy.config.route.v3.RouteConfiguration}.
    @param text: YAML.
    @param file: How errors name the text.
    @param report: Takes the faults and the warnings.

    @raise ConfigErrors: With every fault.
    """
    report = Report() if report is None else report
    return checkedSection(typeName, parseYAML(text, file, report.addWarning), report)
