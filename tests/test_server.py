"""
L{meshproxy.server}, in memory and in virtual time.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from meshproxy import __version__
from meshproxy.errors import ConfigErrors
from meshproxy.net.address import Address
from meshproxy.server import ProxyOptions, ProxyServer
from meshproxy.testing import Answer, MemoryNetwork, MemoryProxy, VirtualReactor
from tests.integration.configs import bootstrap, cluster, direct, forward, listener

PORT = 10000


def layered(**values: object) -> dict[str, Any]:
    """
    A C{layered_runtime} with one static layer.
    """
    return {"layered_runtime": {"layers": [{"name": "s", "static_layer": values}]}}


class SlowNames(MemoryNetwork):
    """
    A network whose look-ups wait for the test.
    """

    def __init__(self, reactor: VirtualReactor) -> None:
        super().__init__(reactor)
        self.waiting: dict[str, Deferred[list[str]]] = {}

    def resolve(
        self, host: str, family: str = "AUTO", needsTTL: bool = False, servers: object = None
    ) -> Deferred[list[str]]:
        """
        Wait.
        """
        return self.waiting.setdefault(host, Deferred())


class StartTests(SynchronousTestCase):
    """
    The beginning.
    """

    def test_live(self) -> None:
        """
        A proxy whose clusters are known listens at once.
        """
        proxy = MemoryProxy(bootstrap(listener("l", PORT, direct("x"))))
        self.assertEqual(proxy.server.state, "LIVE")
        self.assertEqual(proxy.request().body, b"x")
        self.assertEqual((proxy.stat("server.live"), proxy.stat("server.state")), (1, 0))
        proxy.advance(90)
        self.assertEqual(proxy.stat("server.uptime"), 90)
        major, minor, patch = map(int, __version__.split("."))
        self.assertEqual(proxy.stat("server.version"), major * 10000 + minor * 100 + patch)
        other = MemoryProxy(
            json.dumps({**json.loads(bootstrap(listener("l", PORT, direct("x")))), "stats_server_version_override": 77})
        )
        self.assertEqual(other.stat("server.version"), 77)

    def test_faults(self) -> None:
        """
        All faults are raised together, and nothing is bound.
        """
        network = MemoryNetwork(VirtualReactor())
        text = bootstrap(listener("l", PORT, forward("a"), forward("b")), cluster("c", 1, host="nowhere"))
        error = self.assertRaises(ConfigErrors, MemoryProxy, text, network)
        self.assertEqual(len(error.errors), 3)
        self.assertEqual(network.addresses, [])

    def test_faultsOfAllKinds(self) -> None:
        """
        What cannot be read hides nothing that is wrong elsewhere, nor does it make anything wrong that is right: the
        route that waits for the misspelt name, the cluster whose name could not be read.
        """
        one = listener("l", PORT, forward("missing", misspelt=1), forward("c"))
        one["statt_prefix"] = 1
        text = bootstrap(one, cluster("c", 1, host="nowhere"), stats_config={"histogram_bucket_settings": [{}]})
        error = self.assertRaises(ConfigErrors, MemoryProxy, text)
        told = " ".join(each.why for each in error.errors)
        for part in ("'misspelt' is not a field", "'statt_prefix' is not a field", "unknown cluster 'missing'"):
            self.assertEqual(told.count(part), 1, told)
        self.assertIn("'nowhere' is not an IP address", told)
        nameless = cluster("c", 1, host="127.0.0.1")
        nameless["nam"] = nameless.pop("name")
        error = self.assertRaises(ConfigErrors, MemoryProxy, bootstrap(listener("l", PORT, forward("c")), nameless))
        self.assertEqual([each.path for each in error.errors], ["static_resources.clusters[0].nam"])

    def test_warming(self) -> None:
        """
        While names are looked up for the first time nothing is accepted.
        """
        network = SlowNames(VirtualReactor())
        text = bootstrap(listener("l", PORT, forward("c")), cluster("c", 80, host="c.example", kind="STRICT_DNS"))
        proxy = MemoryProxy(text, network)
        self.assertEqual(proxy.server.state, "INITIALIZING")
        self.assertEqual((proxy.stat("server.live"), proxy.stat("server.state")), (0, 3))
        self.assertEqual(network.addresses, [])
        proxy.advance(2)
        proxy.backend("192.0.2.1:80")
        network.waiting["c.example"].callback(["192.0.2.1"])
        self.assertEqual(proxy.server.state, "LIVE")
        self.assertEqual(proxy.request().body, b"ok")

    def test_warmedIntoFailure(self) -> None:
        """
        A port that cannot be bound then ends the process, with 1.
        """
        network = SlowNames(VirtualReactor())
        text = bootstrap(listener("l", PORT, forward("c")), cluster("c", 80, host="c.example", kind="STRICT_DNS"))
        proxy = MemoryProxy(text, network)
        network.listen(Address("127.0.0.1", PORT), lambda peer: None)
        network.waiting["c.example"].callback([])
        self.assertTrue(network.reactor.stopped)
        self.assertEqual(proxy.server.exitStatus, 1)

    def test_node(self) -> None:
        """
        The command line has the last word on who this is.
        """
        text = bootstrap(listener("l", PORT, direct("x")), node={"id": "a", "cluster": "b"})
        context = MemoryProxy(text).server.context
        self.assertEqual((context.nodeId, context.nodeCluster), ("a", "b"))
        context = MemoryProxy(text, options=ProxyOptions(serviceNode="x", serviceCluster="y")).server.context
        self.assertEqual((context.nodeId, context.nodeCluster), ("x", "y"))

    def test_localCluster(self) -> None:
        """
        The local cluster must be there; where it is, requests stay in the zone of this proxy, which the command line
        may tell, as long as that cluster allows it.
        """
        manager = {"cluster_manager": {"local_cluster_name": "proxies"}}
        error = self.assertRaises(ConfigErrors, MemoryProxy, bootstrap(listener("l", PORT, direct("x")), **manager))
        self.assertIn("local cluster 'proxies' must be defined", str(error))

        def zoned(name: str, zones: str) -> dict[str, Any]:
            groups = [
                {
                    "locality": {"zone": zone},
                    "lb_endpoints": [
                        {"endpoint": {"address": {"socket_address": {"address": "192.0.2.1", "port_value": number}}}}
                        for number, each in enumerate(zones, 1)
                        if each == zone
                    ],
                }
                for zone in sorted(set(zones))
            ]
            return {"name": name, "load_assignment": {"cluster_name": name, "endpoints": groups}}

        def text(proxies: str) -> str:
            parts = [zoned("web", "aaabbb"), zoned("proxies", proxies)]
            return bootstrap(listener("l", PORT, forward("web")), *parts, node={"locality": {"zone": "b"}}, **manager)

        for options, zone in ((ProxyOptions(), "b"), (ProxyOptions(serviceZone="a"), "a")):
            proxy = MemoryProxy(text("ab"), options=options)
            web = proxy.server.clusters.byName["web"]
            found = {web.chooseEndpoint().locality.zone for _ in range(9)}  # type: ignore[union-attr]  # there are some
            self.assertEqual(found, {zone})
            self.assertTrue(proxy.reload(text("aa")))
            self.assertIs(proxy.server.clusters.byName["web"], web)
            found = {web.chooseEndpoint().locality.zone for _ in range(9)}  # type: ignore[union-attr]
            self.assertEqual(found, {"a", "b"})


class ReloadTests(SynchronousTestCase):
    """
    Another configuration.
    """

    def setUp(self) -> None:
        self.network = SlowNames(VirtualReactor())
        self.first = bootstrap(listener("l", PORT, direct("1")))
        self.proxy = MemoryProxy(self.first, self.network)

    def counts(self) -> list[int]:
        """
        Attempts, successes, rejections.
        """
        return [self.proxy.stat(f"config_reload.{name}") for name in ("attempt", "success", "rejected")]

    def begin(self, text: str) -> list[object]:
        """
        Begin to reload; the list gets the result.
        """
        results: list[object] = []
        self.proxy.server.options = ProxyOptions(configText=text)
        self.proxy.server.reload().addBoth(results.append)
        return results

    def named(self, host: str, answer: str) -> str:
        """
        A configuration that has to look a name up.
        """
        return bootstrap(
            listener("l", PORT, direct(answer)), cluster(host, 80, host=f"{host}.example", kind="STRICT_DNS")
        )

    def body(self) -> bytes:
        """
        What is answered now.
        """
        return self.proxy.request().body

    def test_taken(self) -> None:
        """
        A good one is served.
        """
        self.assertTrue(self.proxy.reload(bootstrap(listener("l", PORT, direct("2")))))
        self.assertEqual(self.body(), b"2")
        self.assertEqual(self.counts(), [1, 1, 0])

    def test_rejected(self) -> None:
        """
        A bad one is not, and leaves no trace: neither clusters nor metrics nor ports.
        """
        before = sorted(self.proxy.stats())
        bad = bootstrap(listener("m", PORT + 1, forward("nowhere")), cluster("new", 80, host="127.0.0.1"))
        for text in (bad, bad.replace('"new"', '"new", "nam": 1'), "static_resources: [", "{no_such_field: 1}"):
            self.assertFalse(self.proxy.reload(text))
        self.assertEqual(self.body(), b"1")
        self.assertEqual(self.counts(), [4, 0, 4])
        self.assertEqual(sorted(self.proxy.stats()), before)
        self.assertEqual(self.proxy.server.context.clusterNames, frozenset())

    def test_elsewhere(self) -> None:
        """
        What is read only once must stay as it is; each field that does not is told.
        """
        changed = bootstrap(listener("l", PORT, forward("no")), node={"id": "x"}, stats_flush_interval="9s", watchdg={})
        with capturedLogs() as events:
            self.assertFalse(self.proxy.reload(changed))
        self.assertEqual(self.body(), b"1")
        told = formatEvent(events[-1])
        for part in ("node: cannot change", "stats_flush_interval: cannot change", "watchdg", "unknown cluster 'no'"):
            self.assertIn(part, told)

    def test_runtime(self) -> None:
        """
        The runtime reloads.
        """
        runtime = self.proxy.server.context.runtime
        self.assertTrue(self.proxy.reload(bootstrap(listener("l", PORT, direct("2")), **layered(key=7))))
        self.assertEqual(runtime.number("key", 1), 7)
        self.assertTrue(self.proxy.reload(self.first))
        self.assertEqual(runtime.number("key", 1), 1)

    def test_warming(self) -> None:
        """
        The old one serves until the new one knows its endpoints.
        """
        results = self.begin(self.named("a", "2"))
        self.assertEqual((self.body(), results), (b"1", []))
        self.network.waiting["a.example"].callback([])
        self.assertEqual((self.body(), results), (b"2", [True]))

    def test_overtaken(self) -> None:
        """
        Of two that were begun the later one is served in the end, in whichever order they are ready.
        """
        slow = self.begin(self.named("a", "2"))
        quick = self.begin(bootstrap(listener("l", PORT, direct("3"))))
        self.assertEqual((self.body(), quick, slow), (b"3", [True], []))
        self.network.waiting["a.example"].callback(["192.0.2.1"])
        self.assertEqual((self.body(), slow), (b"3", [False]))
        self.assertEqual(list(self.proxy.server.clusters.byName), [])
        self.assertEqual([name for name in self.proxy.stats() if name.startswith("cluster.a.")], [])
        self.assertEqual(self.proxy.server.clusters.warming, [])

    def test_badOneDoesNotOvertake(self) -> None:
        """
        A bad one is none: what was begun before it goes on.
        """
        slow = self.begin(self.named("a", "2"))
        bad = self.begin("{nonsense: 1}")
        self.network.waiting["a.example"].callback([])
        self.assertEqual((self.body(), slow, bad), (b"2", [True], [False]))

    def test_occupied(self) -> None:
        """
        One whose port is taken is refused, and its clusters stop to look for endpoints.
        """
        self.network.listen(Address("127.0.0.1", PORT + 1), lambda peer: None)
        text = bootstrap(listener("m", PORT + 1, direct("2")), cluster("a", 80, host="a.example", kind="STRICT_DNS"))
        results = self.begin(text)
        self.network.waiting["a.example"].callback([])
        self.assertEqual((self.body(), results), (b"1", [False]))
        self.network.waiting.clear()
        self.proxy.advance(60)
        self.assertEqual(self.network.waiting, {})

    def test_beforeTheFirstIsReady(self) -> None:
        """
        One that comes while the first configuration still looks for its endpoints takes its place.
        """
        network = SlowNames(VirtualReactor())
        self.proxy = MemoryProxy(self.named("a", "1"), network)
        self.assertEqual(self.begin(bootstrap(listener("l", PORT, direct("2")))), [True])
        self.assertEqual((self.proxy.server.state, self.body()), ("LIVE", b"2"))
        network.waiting["a.example"].callback([])
        self.assertEqual(self.body(), b"2")

    def test_whileStopping(self) -> None:
        """
        One that comes when the proxy is about to end is refused, also if it was only not ready in time.
        """
        slow = self.begin(self.named("a", "2"))
        self.proxy.client()
        self.proxy.server.stopService()
        self.assertEqual(self.begin(bootstrap(listener("l", PORT, direct("3")))), [False])
        self.network.waiting["a.example"].callback([])
        self.assertEqual(slow, [False])
        self.assertEqual(self.network.addresses, [])


class StopTests(SynchronousTestCase):
    """
    The end.
    """

    def start(self, **options: Any) -> MemoryProxy:
        """
        A proxy before a slow backend.
        """
        text = bootstrap(listener("l", PORT, forward("c")), cluster("c", 80))
        proxy = MemoryProxy(text, options=ProxyOptions(**options))
        proxy.backend("127.0.0.1:80", Answer(body=b"slow", delay=5))
        return proxy

    def stopping(self, proxy: MemoryProxy) -> list[object]:
        """
        Begin to stop; the list gets the result.
        """
        results: list[object] = []
        proxy.server.stopService().addBoth(results.append)
        proxy.settle()
        return results

    def test_nothingOpen(self) -> None:
        """
        Without connections it ends at once, and leaves nothing.
        """
        proxy = self.start()
        self.assertEqual(len(self.stopping(proxy)), 1)
        self.assertEqual(proxy.server.state, "DRAINING")
        self.assertEqual([str(a) for a in proxy.network.addresses], ["<Address 127.0.0.1:80>"])
        self.assertEqual(proxy.reactor.getDelayedCalls(), [])

    def test_inFlight(self) -> None:
        """
        What is under way ends first; the response says that it is the last.
        """
        proxy = self.start()
        client = proxy.client()
        client.send()
        proxy.advance(1)
        results = self.stopping(proxy)
        self.assertEqual(results, [])
        self.assertEqual(proxy.stat("server.state"), 1)
        proxy.advance(5)
        response = client.response()
        self.assertEqual((response.body, response.header("connection")), (b"slow", "close"))
        client.close()
        proxy.advance(1)
        self.assertEqual(len(results), 1)
        # What is left of the route's time-out; nothing that comes again and again.
        proxy.advance(15)
        self.assertEqual(proxy.reactor.getDelayedCalls(), [])

    def test_drainTime(self) -> None:
        """
        But no longer than the drain time: then it is cut off.
        """
        proxy = self.start(drainTime=2.0)
        client = proxy.client()
        client.send()
        proxy.advance(1)
        with capturedLogs() as events:
            results = self.stopping(proxy)
            proxy.advance(1.9)
            self.assertEqual(results, [])
            proxy.advance(0.2)
        self.assertEqual(len(results), 1)
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "connections are under way: 1; they have 2 s to end, a second signal ends them at once",
                "connections that did not end in time: 1",
            ],
        )
        self.assertTrue(client.wasReset)
        proxy.advance(15)
        self.assertEqual(proxy.reactor.getDelayedCalls(), [])

    def test_drainTimeLog(self) -> None:
        """
        What is cut off has its line in the access log before that closes.
        """
        text = bootstrap(listener("l", PORT, forward("c"), logs=True), cluster("c", 80))
        proxy = MemoryProxy(text, options=ProxyOptions(drainTime=2.0))
        proxy.backend("127.0.0.1:80", Answer(body=b"slow", delay=5))
        proxy.client().send()
        proxy.advance(1)
        logged: list[list[str]] = []
        proxy.server.stopService().addBoth(lambda _: logged.append(list(proxy.accessLog)))
        proxy.advance(2.1)
        self.assertEqual([len(lines) for lines in logged], [1])

    def test_beforeItBegan(self) -> None:
        """
        A proxy that is stopped while it still looks for endpoints does not begin to listen afterwards.
        """
        network = SlowNames(VirtualReactor())
        text = bootstrap(listener("l", PORT, forward("c")), cluster("c", 80, host="c.example", kind="STRICT_DNS"))
        proxy = MemoryProxy(text, network)
        self.assertEqual(len(self.stopping(proxy)), 1)
        network.waiting["c.example"].callback(["192.0.2.1"])
        self.assertEqual(network.addresses, [])
        self.assertEqual(proxy.server.state, "DRAINING")


class ServerTests(SynchronousTestCase):
    """
    Without a kit.
    """

    def test_nothingBeforeTheStart(self) -> None:
        """
        Making a server binds nothing.
        """
        network = MemoryNetwork(VirtualReactor())
        options = ProxyOptions(configText=bootstrap(listener("l", PORT, direct("x"))))
        server = ProxyServer(options, network.reactor, network)
        self.assertEqual((network.addresses, server.state), ([], "INITIALIZING"))
