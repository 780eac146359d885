# -*- test-case-name: tests.filters.cluster_specifier.test_matcher -*-
"""
C{envoy.router.cluster_specifier_plugin.matcher}: a tree of conditions with a cluster at each leaf.
"""

from __future__ import annotations

from typing import Any

from meshproxy.config import Section
from meshproxy.config.matchertree import MatcherTree, compileMatcherTree
from meshproxy.config.supported import declare
from meshproxy.headers import RequestHeaders
from meshproxy.routing.context import RouteContext
from meshproxy.routing.specifiers import ClusterSpecifier

__all__ = ["MatcherClusterSpecifier"]

_PACKAGE = "envoy.extensions.router.cluster_specifiers.matcher.v3."
_MESSAGE = _PACKAGE + "MatcherClusterSpecifier"
_ACTION = _PACKAGE + "ClusterAction"

declare(_MESSAGE, "cluster_matcher")
declare(_ACTION, "cluster")


def _compileAction(action: Section) -> object | None:
    config = action.any("typed_config")
    if config is None or config.typeName != _ACTION:
        action.refuse(f"the action of this matcher is a {_ACTION}", "typed_config")
        return None
    name: str = config.get("cluster")
    return name


class MatcherClusterSpecifier(ClusterSpecifier):
    """
    Asks the tree.
    """

    configType = _MESSAGE

    @classmethod
    def compileConfig(cls, section: Section, context: RouteContext) -> MatcherTree:
        """
        See L{ClusterSpecifier.compileConfig}.
        """
        return compileMatcherTree(section.childOrEmpty("cluster_matcher"), context.matcherInputs, _compileAction)

    def chooseCluster(self, headers: RequestHeaders, stream: Any) -> str:
        """
        See L{ClusterSpecifier.chooseCluster}.
        """
        found: str | None = self.config(stream)
        return found or ""
