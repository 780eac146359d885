# -*- test-case-name: tests.controlplane.translate.test_proxy -*-
"""
What a data plane can do, as far as not all can. The one place to change when one learns something.
"""

from __future__ import annotations

from attrs import frozen

__all__ = ["ENVOY", "MESHPROXY", "Abilities"]


@frozen(kw_only=True)
class Abilities:
    """
    What is left out, and told, where it is not there.

    @ivar outliers: Notices endpoints that fail.
    @ivar proxyProtocol: Says the PROXY protocol to endpoints.
    @ivar resolves: Looks names up that requests ask for.
    @ivar readsLoads: Heeds what endpoints tell of their load.
    @ivar asksHTTP: Asks a provider over HTTP whether to let a request pass.
    @ivar asksGRPC: Asks one over gRPC.
    @ivar asksOfConnections: Asks about connections that are no HTTP, over gRPC.
    """

    outliers: bool
    proxyProtocol: bool
    resolves: bool
    readsLoads: bool
    asksHTTP: bool
    asksGRPC: bool
    asksOfConnections: bool


ENVOY = Abilities(
    outliers=True,
    proxyProtocol=True,
    resolves=True,
    readsLoads=True,
    asksHTTP=True,
    asksGRPC=True,
    asksOfConnections=True,
)

MESHPROXY = Abilities(
    outliers=True,
    proxyProtocol=False,
    resolves=True,
    readsLoads=False,
    asksHTTP=True,
    asksGRPC=True,
    asksOfConnections=False,
)
