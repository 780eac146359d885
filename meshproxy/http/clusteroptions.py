# -*- test-case-name: tests.http.test_clusteroptions -*-
"""
What a cluster says of the requests that go to it (C{envoy.extensions.upstreams.http.v3.HttpProtocolOptions}), besides
how its connections are made: what is tried again, which requests are alike, who gets copies, and which filters they
pass.
"""

from __future__ import annotations

from dataclasses import replace

from meshproxy.config import Section
from meshproxy.http.chain import FilterChain
from meshproxy.http.chaincompiler import ChainCompiler
from meshproxy.http.context import ProxyContext
from meshproxy.routing.context import RouteContext
from meshproxy.routing.hashing import HashPolicy, compileHashPolicy
from meshproxy.routing.mirrors import MirrorPolicy, compileMirrorPolicies
from meshproxy.routing.retries import RetryPolicy, compileRetryPolicy
from meshproxy.routing.route import RouteAction
from meshproxy.stats import Scope
from meshproxy.upstream.settings import httpOptions

__all__ = ["ClusterOptions", "compileClusterOptions"]

# Routes come and go while a cluster stays.
_MOST_ACTIONS = 1024


class ClusterOptions:
    """
    What is said of all requests to a cluster.

    @ivar retryPolicy: What is tried again.
    @ivar hashPolicy: Which requests are alike.
    @ivar mirrors: Who gets copies.
    @ivar chain: The filters that each try passes on its way upstream.
    """

    def __init__(
        self,
        retryPolicy: RetryPolicy | None = None,
        hashPolicy: HashPolicy | None = None,
        mirrors: tuple[MirrorPolicy, ...] = (),
        chain: FilterChain | None = None,
    ) -> None:
        self.retryPolicy = retryPolicy
        self.hashPolicy = hashPolicy
        self.mirrors = mirrors
        self.chain = chain
        # By the identity of what the route says, which the value keeps alive.
        self._known: dict[int, tuple[RouteAction, RouteAction]] = {}

    def heed(self, action: RouteAction) -> RouteAction:
        """
        What a route says, with what the cluster says over it.
        """
        known = self._known.get(id(action))
        if known is None:
            if len(self._known) >= _MOST_ACTIONS:
                self._known.clear()
            known = self._known[id(action)] = (action, self._over(action))
        return known[1]

    def _over(self, action: RouteAction) -> RouteAction:
        policy, routes = self.retryPolicy, action.retryPolicy
        if policy is not None:
            # As in Envoy, how long a try may take is for the route alone to say.
            perTry, perTryIdle = (0.0, 0.0) if routes is None else (routes.perTryTimeout, routes.perTryIdleTimeout)
            policy = replace(policy, perTryTimeout=perTry, perTryIdleTimeout=perTryIdle)
        return replace(
            action,
            retryPolicy=policy or routes,
            hashPolicy=self.hashPolicy or action.hashPolicy,
            mirrors=self.mirrors or action.mirrors,
        )


def compileClusterOptions(cluster: Section, scope: Scope, proxy: ProxyContext) -> ClusterOptions | None:
    """
    Compile them. Faults are told by C{refuse}.

    @param cluster: A C{Cluster} message.
    @param scope: C{cluster.NAME.}.

    @return: L{None} where nothing is said.
    """
    section = httpOptions(cluster)
    if section is None:
        return None
    # As in Envoy, nobody asks whether the mirrors' clusters exist.
    context = RouteContext(runtime=proxy.runtime, random=proxy.random)
    retryPolicy = compileRetryPolicy(section.child("retry_policy"))
    hashPolicy = compileHashPolicy(section.children("hash_policy"))
    mirrors = compileMirrorPolicies(section.children("request_mirror_policies"), context, False)
    chain = ChainCompiler(proxy, "", scope).compileUpstream(section, "http_filters")
    if retryPolicy is None and hashPolicy is None and not mirrors and chain is None:
        return None
    return ClusterOptions(retryPolicy, hashPolicy, mirrors, chain)
