"""
Envoy's configuration: text to checked messages, each with its place, so that a fault can say where it is.
"""

from meshproxy.config.load import loadBootstrap, sectionFromYAML
from meshproxy.config.report import Report
from meshproxy.config.section import Section

__all__ = ["Report", "Section", "loadBootstrap", "sectionFromYAML"]
