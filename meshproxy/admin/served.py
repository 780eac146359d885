# -*- test-case-name: tests.admin -*-
"""
What the admin asks of the proxy, which stands left of this room and therefore cannot be named here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from meshproxy.accesslog.files import LogFiles
from meshproxy.config import Section
from meshproxy.http.context import ProxyContext
from meshproxy.listener.listeners import Listeners
from meshproxy.upstream.clusters import Clusters

__all__ = ["Served", "ServedOptions", "stateOf"]


class ServedOptions(Protocol):
    """
    The command line, as far as C{/server_info} shows it.
    """

    @property
    def configPath(self) -> str | None:
        """
        The bootstrap file.
        """

    @property
    def configText(self) -> str | None:
        """
        The bootstrap that was given as text.
        """

    @property
    def allowUnknown(self) -> bool:
        """
        Whether fields that are not implemented are only warned of.
        """

    @property
    def serviceNode(self) -> str:
        """
        The name of the node.
        """

    @property
    def serviceCluster(self) -> str:
        """
        The cluster of the node.
        """

    @property
    def serviceZone(self) -> str:
        """
        The zone of the node.
        """

    @property
    def drainTime(self) -> float:
        """
        Seconds that connections have to end.
        """

    @property
    def adminAddressPath(self) -> str | None:
        """
        Where to write the address of the admin.
        """


class Served(Protocol):
    """
    A L{meshproxy.server.ProxyServer}.

    @ivar state: As C{/ready} tells while health checks do not fail: C{INITIALIZING}, C{LIVE}, C{DRAINING}.
    @ivar started: When the process began, by its clock.
    @ivar loaded: When the configuration was read.
    @ivar failedHealthCheck: Whether C{/healthcheck/fail} was asked for.
    """

    context: ProxyContext
    clusters: Clusters
    listeners: Listeners
    files: LogFiles
    state: str
    started: float
    loaded: float
    failedHealthCheck: bool

    @property
    def bootstrap(self) -> Section:
        """
        The configuration that is served.
        """

    @property
    def options(self) -> ServedOptions:
        """
        The command line.
        """

    def refreshStats(self) -> None:
        """
        Bring up to date what is not counted as it happens.
        """

    def failHealthCheck(self, failed: bool) -> None:
        """
        Tell whoever asks for this proxy's health that it is ill, or well again.
        """

    def drainListeners(self, inboundOnly: bool, graceful: bool, skipExit: bool) -> None:
        """
        Stop to listen, see C{/drain_listeners}.
        """

    def reloadFilters(self, names: Sequence[str]) -> None:
        """
        Load the modules of filters again.

        @raise meshproxy.errors.MeshProxyError: If that cannot be; then all stays as it was.
        """

    def quit(self) -> None:
        """
        End the process, after what is under way.
        """


def stateOf(server: Served) -> str:
    """
    The state that C{/ready} and C{/server_info} tell.
    """
    return "DRAINING" if server.failedHealthCheck and server.state == "LIVE" else server.state
