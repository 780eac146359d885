"""
Tests for L{meshproxy.xds.localcopy}: the file, and proxies in memory that begin with it.
"""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshproxy.config import Section
from meshproxy.controlplane.xds import server
from meshproxy.errors import ConfigErrors
from meshproxy.server import ProxyOptions
from meshproxy.stats import Store
from meshproxy.testing.pki import Authority
from meshproxy.testing.proxy import MemoryProxy
from meshproxy.xds.client import Update
from meshproxy.xds.localcopy import CopyFault, LocalCopy, copyName, readCopy
from meshproxy.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPED_ROUTES, SECRET
from tests.xds.namespaces import NamespaceSession
from tests.xds.support import ADS, CONTROL, XDSTestCase, cluster, endpoints, listener, routes


def _message(typeURL: str, **fields: Any) -> bytes:
    value: bytes = Section.of(typeURL.rpartition("/")[2], fields).message.SerializeToString()
    return value


class LocalCopyTests(SynchronousTestCase):
    """
    L{LocalCopy} keeps what was taken.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = Store()
        self.folder = self.mktemp()
        self.unwanted: set[str] = set()
        self.running: list[tuple[Any, Deferred[None]]] = []
        self.copy = self.made()

    def made(self, node: str = "p1", inThread: Any = None) -> LocalCopy:
        """
        A copy.
        """

        def inline(work: Any) -> Deferred[None]:
            work()
            return succeed(None)

        wanted = lambda typeURL, name: name not in self.unwanted  # noqa: E731
        return LocalCopy(self.folder, node, self.clock, self.store, inThread or inline, wanted)

    def later(self, work: Any) -> Deferred[None]:
        """
        A thread that takes its time.
        """
        done: Deferred[None] = Deferred()
        self.running.append((work, done))
        return done

    def finish(self) -> None:
        """
        Let the first of what runs end.
        """
        work, done = self.running.pop(0)
        work()
        done.callback(None)

    def count(self, name: str) -> int:
        """
        A stat.
        """
        found = {**self.store.counters, **self.store.gauges}
        return found[f"control_plane.local_copy.{name}"].value

    def test_roundTrip(self) -> None:
        """
        What was taken comes back in the order that it is needed in, with versions; what is gone does not.
        """
        one, two = (_message(CLUSTER, name=name) for name in ("a", "b"))
        self.copy.take(Update(ROUTES, "5", "", {"r": b""}))
        self.copy.take(Update(SCOPED_ROUTES, "6", "", {"s": b""}, isWhole=True))
        self.copy.take(Update(CLUSTER, "1", "", {"a": one}, isWhole=True))
        self.copy.take(Update(CLUSTER, "2", "", {"b": two}, isWhole=True))
        self.copy.take(Update(ENDPOINTS, "", "", {"x": b"", "y": b""}, versions={"x": "x1", "y": "y1"}))
        self.copy.take(Update(ENDPOINTS, "", "", {}, frozenset(("y",))))
        self.clock.advance(1)
        again = self.made()
        updates = again.load(frozenset())
        self.assertEqual([each.typeURL for each in updates], [CLUSTER, ENDPOINTS, SCOPED_ROUTES, ROUTES])
        self.assertEqual((dict(updates[0].resources), updates[0].version, updates[0].isWhole), ({"b": two}, "2", True))
        scopes = {SCOPED_ROUTES: {"s": "6"}}
        self.assertEqual(again.versions(), {CLUSTER: {"b": "2"}, ENDPOINTS: {"x": "x1"}, ROUTES: {"r": "5"}, **scopes})
        self.assertEqual((self.count("saved"), self.count("in_use")), (1, 1))
        self.assertEqual(
            [each.typeURL for each in again.load(frozenset((CLUSTER, SCOPED_ROUTES)))], [ENDPOINTS, ROUTES]
        )
        again.take(Update(CLUSTER, "3", "", {}, isWhole=True))
        self.assertEqual(self.count("in_use"), 0)
        again.stop()

    def test_secrets(self) -> None:
        """
        Private keys and other secrets are not kept; what says whom to trust is.
        """
        authority = Authority()
        secrets = {
            "key": _message(SECRET, name="key", tls_certificate=authority.issue("a").inline),
            "token": _message(SECRET, name="token", generic_secret={"secret": {"inline_string": "s3cr3t"}}),
            "roots": _message(SECRET, name="roots", validation_context={"trusted_ca": {"inline_string": "x"}}),
        }
        self.copy.take(Update(SECRET, "1", "", secrets))
        self.copy.stop()
        (update, _) = self.made().load(frozenset())
        self.assertEqual(list(update.resources), ["roots"])

    def test_unwanted(self) -> None:
        """
        What nobody asks for any more is not kept, but for clusters and listeners.
        """
        self.copy.take(Update(ROUTES, "1", "", {"r": b"", "s": b""}))
        self.copy.take(Update(LISTENER, "1", "", {"r": b""}, isWhole=True))
        self.unwanted.add("r")
        self.copy.stop()
        listeners, routes = self.made().load(frozenset())
        self.assertEqual((list(listeners.resources), list(routes.resources)), (["r"], ["s"]))

    def test_private(self) -> None:
        """
        The file is its owner's alone, whatever the umask; nothing else is left behind.
        """
        before = os.umask(0)
        try:
            self.copy.take(Update(ROUTES, "1", "", {}))
            self.copy.stop()
        finally:
            os.umask(before)
        self.assertEqual(os.listdir(self.folder), [copyName("p1")])
        self.assertEqual([os.stat(path).st_mode & 0o777 for path in (self.copy.path, self.folder)], [0o600, 0o700])

    def test_together(self) -> None:
        """
        What comes within a second is written once; what comes while it is written is written after, but not before ten
        seconds are over.
        """
        copy = self.made(inThread=self.later)
        for version in ("1", "2"):
            copy.take(Update(ROUTES, version, "", {"r": b""}))
        self.clock.advance(1)
        self.assertEqual(len(self.running), 1)
        copy.take(Update(ROUTES, "3", "", {"r": b""}))
        self.clock.advance(5)
        self.assertEqual(len(self.running), 1)
        self.finish()
        self.assertEqual(readCopy(copy.path, "p1")[1][ROUTES].version, "2")
        self.clock.advance(4)
        self.assertEqual(self.running, [])
        self.clock.advance(1)
        self.finish()
        self.assertEqual(readCopy(copy.path, "p1")[1][ROUTES].version, "3")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """
        At the end all is written, also what came while something was; the end waits for it.
        """
        copy = self.made(inThread=self.later)
        copy.take(Update(ROUTES, "1", "", {"r": b""}))
        self.clock.advance(1)
        copy.take(Update(ROUTES, "2", "", {"r": b""}))
        stopped = copy.stop()
        self.finish()
        self.assertNoResult(stopped)
        self.finish()
        self.successResultOf(stopped)
        self.assertEqual(readCopy(copy.path, "p1")[1][ROUTES].version, "2")

    def test_unwritable(self) -> None:
        """
        That it cannot be written is counted, and the next change is tried again.
        """

        def failing(work: Any) -> Deferred[None]:
            done: Deferred[None] = Deferred()
            done.addCallback(lambda _: work())
            done.callback(None)
            return done

        with open(self.folder, "w"):
            pass
        copy = self.made(inThread=failing)
        copy.take(Update(ROUTES, "1", "", {}))
        self.clock.advance(1)
        self.assertEqual((self.count("save_failed"), self.count("saved")), (1, 0))
        os.remove(self.folder)
        copy.take(Update(ROUTES, "2", "", {}))
        self.clock.advance(10)
        self.assertEqual((self.count("save_failed"), self.count("saved")), (1, 1))

    def refused(self, text: bytes | None = None, node: str = "p1") -> str:
        """
        What is said of a file.
        """
        if text is not None:
            with open(self.copy.path, "wb") as file:
                file.write(text)
        return str(self.assertRaises(CopyFault, readCopy, self.copy.path, node))

    def test_faults(self) -> None:
        """
        Every cut and every changed byte of it is noticed, as is what belongs to others or may be written by them.
        """
        self.copy.take(Update(CLUSTER, "1", "", {"a": _message(CLUSTER, name="a")}, isWhole=True))
        self.copy.stop()
        with open(self.copy.path, "rb") as file:
            good = file.read()
        self.assertIn("it is of the node 'p1', and this is 'p2'", self.refused(node="p2"))
        end = len(good) - 1
        for cut in range(0, end, 7):
            self.refused(good[:cut])
        body = good.index(b"\n") + 1
        for place in range(body, end, 3):
            told = self.refused(good[:place] + bytes((good[place] ^ 1,)) + good[place + 1 :])
            self.assertIn("its checksum is wrong", told)
        self.assertIn("does not begin as", self.refused(b"{}\n{}"))
        self.assertIn("does not begin as", self.refused(b"[1]\n{}"))
        with open(self.copy.path, "wb") as file:
            file.write(good)
        os.chmod(self.copy.path, 0o620)
        self.assertIn("others than its owner may write it", self.refused())
        os.chmod(self.copy.path, 0o600)
        self.assertEqual(list(readCopy(self.copy.path, "p1")[1]), [CLUSTER])
        os.rename(self.copy.path, self.copy.path + "x")
        os.symlink(self.copy.path + "x", self.copy.path)
        self.assertIn("cannot be read", self.refused())

    def test_wrongMessages(self) -> None:
        """
        So is what has the right checksum, but no messages in it.
        """
        self.copy.take(Update(CLUSTER, "1", "", {"a": b"\xff\xff"}, isWhole=True))
        self.copy.stop()
        self.assertIn("it is damaged", self.refused())

    def test_names(self) -> None:
        """
        Each node has a file of its own, whatever its name; no name leads elsewhere.
        """
        names = {copyName(node) for node in ("a", "A", "../a", "a/b", "sidecar~10.0.0.1~x.y~z", "x" * 5000, "\xe9")}
        self.assertEqual(len(names), 7)
        for name in names:
            self.assertNotIn("/", name)
            self.assertLess(len(name), 256)


class BeginTests(XDSTestCase):
    """
    A proxy that begins while its control plane is away.
    """

    def setUp(self) -> None:
        super().setUp()
        self.folder = self.mktemp()
        self.events: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.events.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.good: dict[str, Any] = {
            "clusters": [cluster("a")],
            "endpoints": [endpoints("a", "192.0.2.11")],
            "listeners": [listener()],
            "routes": [routes("r", "a")],
        }

    def begin(self, **static: Any) -> None:
        """
        Start a proxy that keeps a copy.
        """
        self.proxy = MemoryProxy(self.bootstrap(**static), self.network, options=ProxyOptions(xdsCopyPath=self.folder))
        self.addCleanup(self.end)

    def end(self) -> None:
        """
        End it.
        """
        self.proxy.server.stopService()
        self.reactor.advance(60)

    def loseControlPlane(self) -> None:
        """
        Have no control plane from now on.
        """
        self.listening.stopListening()
        self.server.stop()

    def learn(self) -> None:
        """
        A proxy learns everything, and ends; then the control plane is gone.
        """
        self.proxy.backend("192.0.2.11:80")
        self.assertEqual(self.get(), 200)
        self.end()
        self.loseControlPlane()

    def firstRun(self) -> None:
        """
        Have a copy, and no control plane.
        """
        self.source.set(**self.good)
        self.begin()
        self.learn()

    def path(self) -> str:
        """
        Where the copy is.
        """
        return os.path.join(self.folder, copyName("p1"))

    def test_begins(self) -> None:
        """
        It begins with what it had, when the time for the first response is over, and says so.
        """
        self.firstRun()
        self.begin()
        self.reactor.advance(14)
        self.assertEqual(self.proxy.server.state, "INITIALIZING")
        self.reactor.advance(1)
        self.assertEqual((self.proxy.server.state, self.get()), ("LIVE", 200))
        self.assertEqual(self.proxy.stat("control_plane.local_copy.in_use"), 1)
        self.assertEqual(self.proxy.stat("cluster_manager.cds.init_fetch_timeout"), 1)
        told = [event for event in self.events if event.startswith("beginning with the local copy")]
        self.assertEqual(len(told), 1)
        self.assertIn("1 CDS, 1 EDS, 1 LDS, 1 RDS", told[0])

    def test_notOnDemand(self) -> None:
        """
        What somebody asked for is not in it: clusters on demand, and virtual hosts that came apart.
        """
        self.variant = "DELTA_GRPC"
        self.patch(server, "DeltaSession", NamespaceSession)
        prefix = "type.googleapis.com/envoy.extensions.filters.http."
        demand = {"@type": prefix + "on_demand.v3.OnDemand", "odcds": {"source": ADS}}
        filters = [
            {"name": "demand", "typedConfig": demand},
            {"name": "router", "typedConfig": {"@type": prefix + "router.v3.Router"}},
        ]
        host = routes("r", "b")["virtualHosts"][0]
        self.good["listeners"] = [listener(httpFilters=filters)]
        self.good["routes"] = [{"name": "r", "vhds": {"configSource": ADS}}]
        self.good["hosts"] = [{**host, "name": "r/first"}]
        self.good["clusters"] = [cluster("a"), cluster("b")]
        self.good["endpoints"].append(endpoints("b", "192.0.2.11"))
        self.patch(NamespaceSession, "onDemand", frozenset("b"))
        self.source.set(**self.good)
        self.begin()
        # It holds routes back until all clusters were taken, but not for ever.
        self.reactor.advance(30)
        self.learn()
        self.begin()
        self.reactor.advance(60)
        self.assertEqual({each.name for each in self.proxy.server.clusters}, {"xds", "a"})
        self.assertEqual(self.get(), 404)

    def test_follows(self) -> None:
        """
        When the control plane is back the proxy follows it: what is other by now, and what is gone.
        """
        self.firstRun()
        self.begin()
        self.reactor.advance(15)
        self.source.set(
            clusters=[cluster("b")],
            endpoints=[endpoints("b", "192.0.2.11")],
            listeners=[listener()],
            routes=[routes("r", "b", "/only")],
        )
        self.listening = self.network.listen(CONTROL, self.server.buildProtocol)
        self.reactor.advance(60)
        self.assertEqual((self.get("/x"), self.get("/only")), (404, 200))
        self.assertEqual(set(self.proxy.server.clusters.byName), {"xds", "b"})
        self.assertEqual(self.proxy.stat("control_plane.local_copy.in_use"), 0)
        (kept,) = (set(held.resources) for key, held in readCopy(self.path(), "p1")[1].items() if key == CLUSTER)
        self.assertEqual(kept, {"b"})

    def test_silentControlPlane(self) -> None:
        """
        A control plane that takes connections and says nothing is away, too; what it says later is followed.
        """
        self.firstRun()
        held: list[Any] = []

        def attach(node: Any, changed: Any) -> Any:
            held.append(changed)
            return lambda: None

        self.patch(self.source, "attach", attach)
        self.listening = self.network.listen(CONTROL, self.server.buildProtocol)
        self.begin()
        self.reactor.advance(15)
        self.assertEqual((self.proxy.server.state, self.get()), ("LIVE", 200))
        self.reactor.advance(5)
        self.source.set(clusters=[cluster("a")], endpoints=[endpoints("a", "192.0.2.11")], listeners=[], routes=[])
        for changed in held:
            changed(self.source.snapshot)
        self.reactor.settle()
        self.assertEqual(self.proxy.server.listeners.byName, {})

    def test_answersInTime(self) -> None:
        """
        A control plane that answers in time is what counts, whatever the copy says.
        """
        self.firstRun()
        self.source.set(**{**self.good, "routes": [routes("r", "a", "/only")]})
        self.listening = self.network.listen(CONTROL, self.server.buildProtocol)
        self.begin()
        self.reactor.advance(1)
        self.assertEqual((self.get("/x"), self.get("/only")), (404, 200))
        self.assertEqual(self.proxy.stat("control_plane.local_copy.in_use"), 0)

    def test_foreign(self) -> None:
        """
        A copy of another node, and a damaged one, are ignored with the reason; the proxy begins without.
        """
        self.firstRun()
        with open(self.path()) as file:
            text = file.read()
        for changed, why in (
            (text.replace('"node": "p1"', '"node": "p2"'), "it is of the node 'p2', and this is 'p1'"),
            (text[:-9], "its checksum is wrong"),
        ):
            with open(self.path(), "w") as file:
                file.write(changed)
            self.begin()
            self.reactor.advance(15)
            self.assertEqual((self.proxy.server.state, self.proxy.server.listeners.byName), ("LIVE", {}))
            self.assertEqual(self.proxy.stat("control_plane.local_copy.ignored"), 1)
            self.assertTrue([event for event in self.events if "is ignored" in event and why in event], why)
            self.end()

    def test_refused(self) -> None:
        """
        What cannot be served of it is told; the rest is served.
        """
        self.firstRun()
        self.begin(listeners=[json.loads(json.dumps(listener("static", 82))), listener("taken")])
        self.reactor.advance(15)
        self.assertEqual(self.proxy.server.state, "LIVE")
        told = [event for event in self.events if "LDS of the local copy cannot be served" in event]
        self.assertEqual(len(told), 1)
        self.assertEqual(self.get("/", 82), 200)

    def test_noName(self) -> None:
        """
        A proxy without a name has no copy of its own: it does not begin.
        """
        bootstrap = json.loads(self.bootstrap())
        del bootstrap["node"]["id"]
        options = ProxyOptions(xdsCopyPath=self.folder)
        error = self.assertRaises(ConfigErrors, MemoryProxy, json.dumps(bootstrap), self.network, options=options)
        self.assertIn("node: --xds-copy-path needs an id", str(error))

    def test_none(self) -> None:
        """
        Without a copy the proxy begins without, as it does when it is to keep none.
        """
        self.loseControlPlane()
        self.begin()
        self.reactor.advance(15)
        self.assertEqual(self.proxy.server.state, "LIVE")
        self.assertTrue([event for event in self.events if event.startswith("there is no local copy")])


class DeltaBeginTests(BeginTests):
    """
    The same by delta: the control plane is told what the copy has, so that it tells what is gone.
    """

    variant = "DELTA_GRPC"

    def test_notAgain(self) -> None:
        """
        What the proxy has of the copy is not sent again.
        """
        self.firstRun()
        self.begin()
        self.reactor.advance(15)
        pushes = dict(self.xds.pushes)
        self.listening = self.network.listen(CONTROL, self.server.buildProtocol)
        self.reactor.advance(60)
        self.assertEqual((self.xds.pushes, self.get()), (pushes, 200))
