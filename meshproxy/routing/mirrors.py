# -*- test-case-name: tests.routing.test_mirrors -*-
"""
C{request_mirror_policies}: to whom a copy of a request goes, and how its head differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.routing.context import RouteContext
from meshproxy.routing.hosts import withoutPort
from meshproxy.routing.mutations import Mutation, compileHeaderMutations
from meshproxy.runtime import always

__all__ = ["MirrorPolicy", "compileMirrorPolicies"]


@dataclass(frozen=True, slots=True)
class MirrorPolicy:
    """
    One mirror.

    @ivar cluster: Where copies go; empty where C{clusterHeader} names it.
    @ivar decide: Whether this request is copied.
    @ivar keepHost: C{disable_shadow_host_suffix_append}.
    @ivar host: C{host_rewrite_literal}.
    @ivar mutate: Changes of the copy's headers.
    """

    cluster: str
    clusterHeader: bytes = b""
    decide: Callable[[], bool] = always
    keepHost: bool = False
    host: bytes = b""
    mutate: Mutation | None = None

    def selectCluster(self, headers: RequestHeaders) -> str:
        """
        The cluster of a copy; empty where the request does not name it, and no copy is to be sent.
        """
        if self.clusterHeader:
            return headers.first.get(self.clusterHeader, b"").decode("utf-8", "replace")
        return self.cluster

    def copyHead(self, headers: RequestHeaders, info: StreamInfo) -> RequestHeaders:
        """
        The head of the copy: its host says C{-shadow}, before the port.
        """
        copied = headers.copy()
        if self.mutate is not None:
            self.mutate(copied, info)
        if self.host:
            copied.authority = self.host
        elif not self.keepHost and copied.authority:
            host = withoutPort(copied.authority)
            copied.authority = host + b"-shadow" + copied.authority[len(host) :]
        return copied


def compileMirrorPolicies(
    sections: Sequence[Section], context: RouteContext, validates: bool
) -> tuple[MirrorPolicy, ...]:
    """
    Compile a list of C{RouteAction.RequestMirrorPolicy}.

    @param validates: Whether the clusters have to exist.
    """
    return tuple([_compilePolicy(section, context, validates) for section in sections])


def _compilePolicy(section: Section, context: RouteContext, validates: bool) -> MirrorPolicy:
    cluster: str = section.get("cluster")
    header: str = section.get("cluster_header")
    if bool(cluster) is bool(header):
        section.refuse("exactly one of cluster or cluster_header needs to be specified")
    if validates:
        context.checkCluster(section, "cluster", cluster, "shadow cluster")
    return MirrorPolicy(
        cluster,
        header.lower().encode("utf-8"),
        context.runtime.fraction(section.child("runtime_fraction"), always),
        section.get("disable_shadow_host_suffix_append"),
        section.get("host_rewrite_literal").encode("utf-8"),
        compileHeaderMutations(section.children("request_headers_mutations")),
    )
