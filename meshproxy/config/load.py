# -*- test-case-name: tests.config.test_load -*-
"""
From text to a checked section.
"""

from __future__ import annotations

from meshproxy.config.constraints import checkConstraints
from meshproxy.config.report import Report
from meshproxy.config.section import Section
from meshproxy.config.yamltext import parseYAML

__all__ = ["sectionFromYAML"]


def sectionFromYAML(typeName: str, text: str, file: str | None = None) -> Section:
    """
    Read one message of any type, for tests and tools.

    @param typeName: Its full name, such as C{envoy.config.route.v3.RouteConfiguration}.
    @param text: YAML.
    @param file: How errors name the text.

    @raise ConfigErrors: With every fault.
    """
    report = Report()
    section = Section.read(typeName, parseYAML(text, file, report.addWarning), report)
    # What could not be read is missing from the message: to say that it is required as well would mislead.
    report.raiseIfAny()
    checkConstraints(section)
    report.raiseIfAny()
    return section
