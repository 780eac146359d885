# -*- test-case-name: tests.filters.network.test_sni_cluster -*-
"""
C{envoy.filters.network.sni_cluster}: lets the server name of a TLS connection name the cluster that tcp_proxy uses.
"""

from __future__ import annotations

from typing import Any

from meshproxy.config.supported import declare
from meshproxy.interfaces import INetworkConnection, INetworkFilter
from meshproxy.net.filter import ConnectionFilter, PassingFilter
from meshproxy.upstream.tcpsession import PER_CONNECTION_CLUSTER

__all__ = ["NamedConnection", "SNICluster"]

_MESSAGE = "envoy.extensions.filters.network.sni_cluster.v3.SniCluster"

declare(_MESSAGE)


class SNICluster(PassingFilter):
    """
    The network filter.
    """

    configType = _MESSAGE

    def buildFilter(self, info: Any) -> INetworkFilter | None:
        """
        See L{PassingFilter.buildFilter}.
        """
        return NamedConnection()


class NamedConnection(ConnectionFilter):
    """
    One connection.
    """

    def connectionMade(self, connection: INetworkConnection) -> object:
        """
        See L{INetworkFilter.connectionMade}.
        """
        name = connection.info.requestedServerName
        if name:
            connection.info.setState(PER_CONNECTION_CLUSTER, name)
        return None
