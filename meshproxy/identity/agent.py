# -*- test-case-name: tests.identity.test_agent -*-
"""
The agent: what C{twistd meshproxy agent} runs beside a real Envoy. It has the identity of the workload, and serves it
by SDS on a unix socket.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from meshproxy.errors import MeshProxyError
from meshproxy.grpc.server import GRPCServer
from meshproxy.identity.sds import SecretService
from meshproxy.identity.settings import IdentitySettings
from meshproxy.identity.workload import WorkloadIdentity
from meshproxy.interfaces import IListening, INetwork
from meshproxy.net.address import Address
from meshproxy.stats import Store

__all__ = ["Agent", "AgentError", "AgentOptions", "SOCKET"]

SOCKET = "var/run/secrets/workload-spiffe-uds/socket"
"""
Where Istio's agent has it, below the folder that it runs in.
"""


class AgentError(MeshProxyError):
    """
    The agent cannot run with these options.
    """


@frozen(kw_only=True)
class AgentOptions:
    """
    What the command line says.

    @ivar identity: How it comes by the identity.
    @ivar socket: The path of the unix socket.
    @ivar mode: Who may use it, as permissions of a file.
    """

    identity: IdentitySettings
    socket: str = SOCKET
    mode: int = 0o600


class Agent(Service):
    """
    See the module.

    @ivar exitStatus: What the process ends with.
    @ivar identity: Whose secrets are served.
    """

    _log = Logger()
    exitStatus = 0

    def __init__(
        self,
        options: AgentOptions,
        reactor: Any,
        network: INetwork,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """
        Look at what is on the disk; nothing listens yet.

        @raise MeshProxyError: If it cannot run that way.
        """
        # A path of a unix socket has 107 bytes at most (sun_path); longer ones fail with words that tell nothing.
        if len(options.socket.encode("utf-8", "surrogateescape")) > 107:
            raise AgentError(f"the path of a unix socket has 107 bytes at most: {options.socket}")
        self._options = options
        self._network = network
        self._listening: IListening | None = None
        store = Store()
        self.service = SecretService(store.scope("sds."))
        self._server = GRPCServer(self.service.methods(), reactor)
        self.identity = WorkloadIdentity(
            options.identity, network, reactor, chance, store.scope("identity."), self.service.publish
        )

    def privilegedStartService(self) -> None:
        """
        Bind.

        @raise CannotListenError: If the socket cannot be had.
        """
        options = self._options
        folder = Path(options.socket).parent
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise CannotListenError(options.socket, 0, error) from error
        address = Address(options.socket)
        self._listening = self._network.listen(address, self._server.buildProtocol, mode=options.mode)

    def startService(self) -> None:
        """
        Ask for the identity.
        """
        Service.startService(self)
        self._log.info("serving SDS on {socket}", socket=self._options.socket)
        self.identity.start()

    def reloadAll(self) -> None:
        """
        SIGHUP: ask for another certificate now, with another token if there is one.
        """
        self.identity.renewal.renew()

    def stopService(self) -> Deferred[None] | None:
        """
        Serve no more. Envoys keep what they have.
        """
        Service.stopService(self)
        self.identity.stop()
        if self._listening is not None:
            self._listening.stopListening()
        self._server.stop()
        return None
