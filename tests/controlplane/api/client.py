"""
A client of the API without sockets: requests in bytes, through C{twisted.web}, in virtual time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.api.access import ALL_ROLES, Access, Role, TokenGrant
from meshproxy.controlplane.api.application import makeSite
from meshproxy.controlplane.ca.authority import Authority
from meshproxy.controlplane.ca.material import Material
from meshproxy.controlplane.snapshot.snapshots import Snapshots
from meshproxy.controlplane.snapshot.world import World
from meshproxy.controlplane.store.ledger import Ledger
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.testing.clock import VirtualReactor

__all__ = ["APITestCase", "Answer", "READER", "SERVICE", "VIRTUAL_SERVICE", "WRITER"]

#: Tokens that the tests' API knows, by SHA-256.
READER, WRITER = "reader-token", "writer-token"

VIRTUAL_SERVICE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "reviews", "labels": {"app": "reviews"}},
    "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]},
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "reviews"},
    "spec": {"ports": [{"name": "http", "port": 9080}], "selector": {"app": "reviews"}},
}


class _Transport(StringTransport):
    """
    A transport that knows when it was closed.
    """

    disconnected = False

    def loseConnection(self) -> None:
        self.disconnected = True
        super().loseConnection()

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass


class Answer:
    """
    An answer, read.

    @ivar code: Its status.
    @ivar headers: Its fields, by their names in small letters.
    @ivar body: What came of its body.
    """

    def __init__(self, text: bytes) -> None:
        head, _, body = text.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.code = int(lines[0].split(" ")[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        self.body = _dechunk(body) if self.headers.get("transfer-encoding") == "chunked" else body

    @property
    def json(self) -> Any:
        """
        Its body.
        """
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        """
        The lines of its body.
        """
        return [json.loads(line) for line in self.body.splitlines()]


def _dechunk(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return whole


class Conversation:
    """
    One connection to the API.
    """

    def __init__(self, site: Any, host: str) -> None:
        self.transport = _Transport(peerAddress=IPv4Address("TCP", host, 50000))
        self.protocol = site.buildProtocol(IPv4Address("TCP", host, 50000))
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """
        Bytes to the API.
        """
        self.protocol.dataReceived(data)

    @property
    def answer(self) -> Answer:
        """
        What came so far.
        """
        return Answer(self.transport.value())


class APITestCase(SynchronousTestCase):
    """
    A test with an API, its store in memory.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.store = Ledger(self.reactor)
        self.audited: list[tuple[str, str, str, int]] = []
        digests = {token: hashlib.sha256(token.encode()).hexdigest() for token in (READER, WRITER)}
        roles = {READER: frozenset({Role.READ}), WRITER: frozenset({Role.READ, Role.WRITE})}
        access = Access([TokenGrant(token, digests[token], roles[token]) for token in digests], local=ALL_ROLES)
        material = Material(Path(self.mktemp()), "cluster.local", self.reactor.seconds)
        self.site = makeSite(
            self.store,
            access,
            self.reactor,
            Authority(material.signer, "cluster.local", self.reactor.seconds),
            lambda call, code: self.audited.append((call.principal.name, call.method, call.path, code)),
        )

    def serveSnapshots(self) -> Snapshots:
        """
        Have the API tell of proxies, and of all that is there, too.
        """
        snapshots = Snapshots(self.store, World(MeshConfig()), self.reactor)
        self.successResultOf(snapshots.start())
        self.addCleanup(snapshots.stop)
        self.site = makeSite(self.store, Access(), self.reactor, snapshots=snapshots)
        return snapshots

    def connect(self, host: str = "127.0.0.1") -> Conversation:
        """
        A connection from a host.
        """
        return Conversation(self.site, host)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        peer: str = "127.0.0.1",
        **fields: str,
    ) -> Answer:
        """
        A request and its answer.

        @param peer: Who asks.
        @param body: What JSON can say, text, or nothing.
        @param fields: Fields of the request, with underscores for dashes.
        """
        return self.open(method, path, body, peer, **fields).answer

    def open(self, method: str, path: str, body: object = None, peer: str = "127.0.0.1", **fields: str) -> Conversation:
        """
        A request whose answer may go on.
        """
        conversation = self.connect(peer)
        data = body.encode() if isinstance(body, str) else b"" if body is None else json.dumps(body).encode()
        named: Mapping[str, str] = {name.replace("_", "-"): value for name, value in fields.items()}
        headers = {"host": "localhost:15014", "content-length": str(len(data)), **named}
        if data and "content-type" not in headers:
            headers["content-type"] = "application/json"
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        conversation.send("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        return conversation

    def put(self, document: Mapping[str, Any], **metadata: Any) -> Answer:
        """
        Have a resource, by applying it.
        """
        changed = {**document, "metadata": {**document["metadata"], **metadata}}
        answer = self.ask("POST", "/v1/apply", changed)
        self.assertEqual(answer.code, 200, answer.body)
        return answer
