"""
Tests for L{meshproxy.controlplane.xds.session}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import messageClass
from meshproxy.controlplane.xds.deltasession import DeltaSession
from meshproxy.controlplane.xds.subscription import Rejection
from meshproxy.controlplane.xds.worldsession import WorldSession
from meshproxy.grpc.status import GRPCError
from meshproxy.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, nameOf, shortName
from tests.controlplane.xds.support import (
    CLUSTERS,
    ENDPOINT_TYPE,
    LISTENERS,
    ROUTE_TYPE,
    deltaRequest,
    snapshot,
    worldRequest,
)

_TYPES = {"CDS": CLUSTERS, "EDS": ENDPOINT_TYPE, "LDS": LISTENERS, "RDS": ROUTE_TYPE}


def _read(packed: Any) -> Any:
    return messageClass(packed.type_url.rpartition("/")[2]).FromString(packed.value)


class WorldSessionTests(SynchronousTestCase):
    """
    L{WorldSession}: the state of the world.
    """

    def setUp(self) -> None:
        self.session = WorldSession()
        self.last: dict[str, Any] = {}

    def told(self) -> dict[str, str]:
        """
        The responses that are due: for each type the names in it, in the order of sending.
        """
        found = {}
        for typeURL, data in self.session.responses():
            response: Any = messageClass("envoy.service.discovery.v3.DiscoveryResponse").FromString(data)
            messages = [_read(one) for one in response.resources]
            name = shortName(typeURL)
            self.last[name] = response
            found[name] = " ".join(nameOf(typeURL, message) for message in messages)
        return found

    def ask(self, name: str, names: str = "", **more: Any) -> None:
        """
        A request that answers nothing.
        """
        self.session.receive(worldRequest(_TYPES[name], names, **more))

    def answer(self, name: str, names: str = "", error: str = "") -> None:
        """
        Take the last response of a type, or not.
        """
        last = self.last[name]
        version = "" if error else last.version_info
        self.session.receive(worldRequest(_TYPES[name], names, last.nonce, version, error))

    def start(self, **resources: str) -> None:
        """
        A proxy that has it all.
        """
        self.session.setSnapshot(snapshot(**resources))
        self.ask("CDS")
        self.told()
        self.answer("CDS")
        self.ask("EDS", resources.get("endpoints", ""))
        self.told()
        self.answer("EDS", resources.get("endpoints", ""))
        self.ask("LDS")
        self.told()
        self.answer("LDS")
        self.ask("RDS", resources.get("routes", ""))
        self.told()
        self.answer("RDS", resources.get("routes", ""))
        self.assertEqual(self.told(), {})

    def test_hasAll(self) -> None:
        """
        A proxy has all of a type once it took what it asked for, whatever else there is of it; not while a response is
        due or under way, nor after it refused one.
        """
        self.session.setSnapshot(snapshot(endpoints="a b", clusters="a b"))
        self.ask("EDS", "a")
        self.assertFalse(self.session.hasAll(ENDPOINTS))
        self.told()
        self.assertFalse(self.session.hasAll(ENDPOINTS))
        self.answer("EDS", "a")
        self.assertTrue(self.session.hasAll(ENDPOINTS))
        self.session.setSnapshot(snapshot(endpoints="a c", clusters="a c"))
        self.assertEqual((self.told(), self.session.hasAll(ENDPOINTS)), ({}, True))
        self.session.setSnapshot(snapshot(endpoints="a=2", clusters="a"))
        self.assertFalse(self.session.hasAll(ENDPOINTS))
        self.told()
        self.answer("EDS", "a", "no")
        self.assertFalse(self.session.hasAll(ENDPOINTS))

    def test_wildcard(self) -> None:
        """
        Without names all clusters and listeners are meant; an empty answer is one too.
        """
        self.session.setSnapshot(snapshot(clusters="a b"))
        self.ask("CDS")
        self.assertEqual(self.told(), {"CDS": "a b"})
        self.ask("LDS")
        self.answer("CDS")
        self.assertEqual(self.told(), {"LDS": ""})

    def test_nothingYet(self) -> None:
        """
        Before there is a snapshot there is nothing to say.
        """
        self.ask("CDS")
        self.assertEqual(self.told(), {})
        self.session.setSnapshot(snapshot(clusters="a"))
        self.assertEqual(self.told(), {"CDS": "a"})

    def test_names(self) -> None:
        """
        By name only what is asked for; more names get what is new, fewer get nothing.
        """
        self.session.setSnapshot(snapshot(endpoints="a b c"))
        self.ask("EDS", "a")
        self.assertEqual(self.told(), {"EDS": "a"})
        self.answer("EDS", "a b")
        self.assertEqual(self.told(), {"EDS": "b"})
        self.answer("EDS", "b")
        self.assertEqual(self.told(), {})
        self.session.receive(worldRequest(ENDPOINT_TYPE, "a b", self.last["EDS"].nonce))
        self.assertEqual(self.told(), {"EDS": "a"})

    def test_namesWithoutResources(self) -> None:
        """
        Endpoints that do not exist are none, so that the proxy need not wait; a route that does not exist is waited
        for.
        """
        self.session.setSnapshot(snapshot(endpoints="a"))
        self.ask("EDS", "a none")
        self.assertEqual(self.told(), {"EDS": "a none"})
        self.ask("RDS", "none")
        self.answer("EDS", "a none")
        self.assertEqual(self.told(), {"RDS": ""})
        self.answer("RDS", "none")
        self.session.setSnapshot(snapshot(endpoints="a", routes="none"))
        self.assertEqual(self.told(), {"RDS": "none"})

    def test_onlyWhatChanged(self) -> None:
        """
        Nothing is sent again, of endpoints and routes only what changed; all clusters go if one changes, and that one's
        endpoints, for which it waits.
        """
        self.start(clusters="a b", endpoints="a b", listeners="l", routes="r s")
        self.session.setSnapshot(snapshot(clusters="a b", endpoints="a b=2", listeners="l", routes="r s"))
        self.assertEqual(self.told(), {"EDS": "b"})
        self.answer("EDS", "a b")
        self.session.setSnapshot(snapshot(clusters="a b", endpoints="a b=2", listeners="l", routes="r=2 s"))
        self.assertEqual(self.told(), {"RDS": "r"})
        self.answer("RDS", "r s")
        self.session.setSnapshot(snapshot(clusters="a b=2", endpoints="a b=2", listeners="l", routes="r=2 s"))
        self.assertEqual(self.told(), {"CDS": "a b", "EDS": "b"})

    def test_oneUnderWay(self) -> None:
        """
        While a response is not answered, no other one of its type goes; the newest goes then.
        """
        self.session.setSnapshot(snapshot(clusters="a"))
        self.ask("CDS")
        self.told()
        for variant in "23":
            self.session.setSnapshot(snapshot(clusters=f"a={variant}"))
            self.assertEqual(self.told(), {})
        self.answer("CDS")
        self.assertEqual(self.told(), {"CDS": "a"})
        self.assertIn(b"3", self.last["CDS"].resources[0].value)

    def test_makeBeforeBreak(self) -> None:
        """
        A new cluster goes first, then its endpoints, then who names it; the old one stays until nobody does.
        """
        self.start(clusters="a", endpoints="a", listeners="l", routes="r")
        self.session.setSnapshot(snapshot(clusters="b", endpoints="b", listeners="l", routes="r=2"))
        self.assertEqual(self.told(), {"CDS": "b a"})
        self.assertTrue(self.session.isWaiting)
        self.answer("CDS")
        self.assertEqual(self.told(), {})
        self.session.receive(worldRequest(ENDPOINT_TYPE, "a b", self.last["EDS"].nonce))
        self.assertEqual(self.told(), {"EDS": "b"})
        self.answer("EDS", "a b")
        self.assertEqual(self.told(), {"RDS": "r"})
        self.answer("RDS", "r")
        self.assertEqual(self.told(), {"CDS": "b"})
        self.assertFalse(self.session.isWaiting)

    def test_impatience(self) -> None:
        """
        A proxy that does not ask for endpoints gets its routes all the same, when it took too long.
        """
        self.start(clusters="a", endpoints="a", listeners="l", routes="r")
        self.session.setSnapshot(snapshot(clusters="a b", endpoints="a b", listeners="l", routes="r=2"))
        self.told()
        self.answer("CDS")
        self.assertEqual((self.told(), self.session.isWaiting), ({}, True))
        self.session.mayWait = False
        self.assertEqual(self.told(), {"RDS": "r"})

    def test_rejection(self) -> None:
        """
        What is not taken is known by its reason, and not sent again; a new version is.
        """
        self.start(clusters="a", endpoints="a", listeners="l", routes="r")
        before = self.session.subscriptions[CLUSTER].accepted
        self.session.setSnapshot(snapshot(clusters="a=2", endpoints="a", listeners="l", routes="r"))
        self.told()
        self.answer("CDS", error="bad a")
        subscription = self.session.subscriptions[CLUSTER]
        self.assertEqual(subscription.rejection, Rejection(self.last["CDS"].version_info, "bad a"))
        self.assertEqual((subscription.accepted, self.told()), (before, {}))
        self.session.setSnapshot(snapshot(clusters="a=3", endpoints="a", listeners="l", routes="r"))
        self.assertEqual(self.told(), {"CDS": "a"})
        self.answer("CDS")
        self.assertIsNone(self.session.subscriptions[CLUSTER].rejection)

    def test_takenBack(self) -> None:
        """
        What was refused and is taken back leaves nothing to send, and is sent all the same: the proxy takes it, and
        refuses nothing any more.
        """
        self.start(clusters="a", endpoints="a", listeners="l", routes="r")
        self.session.setSnapshot(snapshot(clusters="a", endpoints="a", listeners="l bad", routes="r=9"))
        self.assertEqual(self.told(), {"LDS": "l bad", "RDS": "r"})
        self.answer("LDS", error="bad")
        self.answer("RDS", "r", error="bad r")
        self.session.setSnapshot(snapshot(clusters="a", endpoints="a", listeners="l", routes="r"))
        self.assertEqual(self.told(), {"LDS": "l", "RDS": "r"})
        self.answer("LDS")
        self.answer("RDS", "r")
        self.assertTrue(self.session.hasAll(LISTENER) and self.session.hasAll(ROUTES))
        self.assertEqual(self.told(), {})

    def test_endpointsAfterRefusal(self) -> None:
        """
        A cluster that is put right after a refusal gets its endpoints again: for the proxy it is another one than the
        one it has, and it waits for them.
        """
        self.start(clusters="a b", endpoints="a b", listeners="l", routes="r")
        self.session.setSnapshot(snapshot(clusters="a b=2", endpoints="a b", listeners="l", routes="r"))
        self.assertEqual(self.told(), {"CDS": "a b", "EDS": "b"})
        self.answer("EDS", "a b")
        self.answer("CDS", error="bad b")
        self.session.setSnapshot(snapshot(clusters="a b=3", endpoints="a b", listeners="l", routes="r"))
        self.assertEqual(self.told(), {"CDS": "a b", "EDS": "a b"})

    def test_rejectedClusters(self) -> None:
        """
        Clusters that were not taken hold nothing up for ever.
        """
        self.start(clusters="a", endpoints="a", listeners="l", routes="r")
        self.session.setSnapshot(snapshot(clusters="a b", endpoints="a b", listeners="l", routes="r=2"))
        self.told()
        self.answer("CDS", error="bad b")
        self.assertEqual(self.told(), {"RDS": "r"})

    def test_offeredAgain(self) -> None:
        """
        Endpoints that were refused with others are offered again with the next change.
        """
        self.session.setSnapshot(snapshot(endpoints="a b"))
        self.ask("EDS", "a b")
        self.told()
        self.answer("EDS", "a b", error="bad b")
        self.assertEqual(self.told(), {})
        self.session.setSnapshot(snapshot(endpoints="a b=2"))
        self.assertEqual(self.told(), {"EDS": "a b"})

    def test_staleNonce(self) -> None:
        """
        An answer to a response that was superseded is none.
        """
        self.session.setSnapshot(snapshot(clusters="a"))
        self.ask("CDS")
        self.told()
        self.session.receive(worldRequest(CLUSTERS, nonce="77"))
        self.assertTrue(self.session.subscriptions[CLUSTER].isUnderWay)

    def test_resume(self) -> None:
        """
        A proxy that comes again with the newest version is sent nothing; with another one it is sent all.
        """
        current = snapshot(clusters="a")
        self.session.setSnapshot(current)
        self.ask("CDS", version=current.version(CLUSTER))
        self.assertEqual(self.told(), {})
        # It may have asked before there was anything.
        early = self.session = WorldSession()
        self.ask("CDS", version=current.version(CLUSTER))
        early.setSnapshot(current)
        self.assertEqual(self.told(), {})
        self.assertEqual(self.session.subscriptions[CLUSTER].accepted, current.version(CLUSTER))
        self.session.setSnapshot(snapshot(clusters="a b"))
        self.assertEqual(self.told(), {"CDS": "a b"})
        self.session = WorldSession()
        self.session.setSnapshot(current)
        self.ask("CDS", version="old")
        self.assertEqual(self.told(), {"CDS": "a"})

    def test_oneType(self) -> None:
        """
        A stream for one type takes no other; an aggregated one wants to know.
        """
        self.session = WorldSession(CLUSTER)
        self.session.setSnapshot(snapshot(clusters="a"))
        self.session.receive(worldRequest())
        self.assertEqual(self.told(), {"CDS": "a"})
        self.assertRaises(GRPCError, self.ask, "LDS")
        self.assertRaises(GRPCError, WorldSession().receive, worldRequest())

    def test_bounds(self) -> None:
        """
        A proxy cannot make the control plane remember without end.
        """
        self.assertRaises(GRPCError, self.ask, "EDS", " ".join(map(str, range(100_001))))
        session = WorldSession()
        with self.assertRaises(GRPCError):
            for number in range(200):
                session.receive(worldRequest(f"t{number}"))


class DeltaSessionTests(SynchronousTestCase):
    """
    L{DeltaSession}: what changed.
    """

    def setUp(self) -> None:
        self.session = DeltaSession()
        self.last: dict[str, Any] = {}

    def told(self) -> dict[str, tuple[str, str]]:
        """
        The responses that are due: for each type the names in it, and those that are gone.
        """
        found = {}
        for typeURL, data in self.session.responses():
            response: Any = messageClass("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(data)
            name = shortName(typeURL)
            self.last[name] = response
            found[name] = (" ".join(one.name for one in response.resources), " ".join(response.removed_resources))
        return found

    def ask(self, name: str, subscribe: str = "", unsubscribe: str = "", **more: Any) -> None:
        """
        A request.
        """
        self.session.receive(deltaRequest(_TYPES[name], subscribe, unsubscribe, **more))

    def answer(self, name: str, error: str = "") -> None:
        """
        Take the last response of a type, or not.
        """
        self.session.receive(deltaRequest(_TYPES[name], nonce=self.last[name].nonce, error=error))

    def test_endpointsAgain(self) -> None:
        """
        A cluster that changed gets its endpoints again, which a proxy waits for and does not ask for a second time;
        those of others are not sent.
        """
        self.session.setSnapshot(snapshot(clusters="a b", endpoints="a b"))
        self.ask("CDS")
        self.ask("EDS", "a b")
        self.assertEqual(self.told(), {"CDS": ("a b", ""), "EDS": ("a b", "")})
        self.answer("CDS")
        self.answer("EDS")
        self.session.setSnapshot(snapshot(clusters="a b=2 c", endpoints="a b"))
        self.assertEqual(self.told(), {"CDS": ("b c", ""), "EDS": ("b", "")})
        # It may wait for them before it says that it took the clusters.
        self.answer("EDS")
        self.answer("CDS")
        self.assertEqual(self.told(), {})
        # After a refusal as well: what it has is neither what it had nor what it was sent.
        self.session.setSnapshot(snapshot(clusters="a b=3 c", endpoints="a b"))
        self.assertEqual(self.told(), {"CDS": ("b", ""), "EDS": ("b", "")})
        self.answer("EDS")
        self.answer("CDS", error="bad b")
        self.session.setSnapshot(snapshot(clusters="a b=4 c", endpoints="a b"))
        self.assertEqual(self.told(), {"CDS": ("b", ""), "EDS": ("b", "")})

    def test_wildcard(self) -> None:
        """
        All clusters first, then what changed and what is gone.
        """
        self.session.setSnapshot(snapshot(clusters="a b"))
        self.ask("CDS")
        self.assertEqual(self.told(), {"CDS": ("a b", "")})
        self.answer("CDS")
        self.session.setSnapshot(snapshot(clusters="a=2 c"))
        self.assertEqual(self.told(), {"CDS": ("a c", "b")})
        self.answer("CDS")
        self.assertEqual(self.told(), {})
        self.assertEqual(self.session.subscriptions[CLUSTER].accepted, self.last["CDS"].system_version_info)

    def test_names(self) -> None:
        """
        Names come and go; one that does not exist is said to be gone, once, and comes when it exists.
        """
        self.session.setSnapshot(snapshot(routes="r s"))
        self.ask("RDS", "r none")
        self.assertEqual(self.told(), {"RDS": ("r", "none")})
        self.answer("RDS")
        self.assertEqual(self.told(), {})
        self.ask("RDS", "s", "r")
        self.assertEqual(self.told(), {"RDS": ("s", "")})
        self.answer("RDS")
        self.session.setSnapshot(snapshot(routes="r=2 s none"))
        self.assertEqual(self.told(), {"RDS": ("none", "")})
        self.answer("RDS")
        self.session.setSnapshot(snapshot(routes="r=2 s"))
        self.assertEqual(self.told(), {"RDS": ("", "none")})

    def test_resume(self) -> None:
        """
        A proxy that says which versions it has gets what differs, and what is gone.
        """
        current = snapshot(clusters="a b")
        versions = {name: one.version for name, one in current.ofType(CLUSTER).items()}
        self.session.setSnapshot(current)
        self.ask("CDS", initial={"a": versions["a"], "b": "old", "c": "x"})
        self.assertEqual(self.told(), {"CDS": ("b", "c")})

    def test_again(self) -> None:
        """
        A name that is subscribed to again is sent again, whatever was sent before.
        """
        self.session.setSnapshot(snapshot(endpoints="a"))
        self.ask("EDS", "a")
        self.told()
        self.answer("EDS")
        self.ask("EDS", "a")
        self.assertEqual(self.told(), {"EDS": ("a", "")})

    def test_leaveWildcard(self) -> None:
        """
        A proxy may go from all to some, and back.
        """
        self.session.setSnapshot(snapshot(clusters="a b"))
        self.ask("CDS", "*")
        self.told()
        self.answer("CDS")
        self.ask("CDS", "a", "*")
        self.assertEqual(self.told(), {"CDS": ("a", "")})
        self.answer("CDS")
        self.session.setSnapshot(snapshot(clusters="a=2 b=2"))
        self.assertEqual(self.told(), {"CDS": ("a", "")})
        self.answer("CDS")
        self.ask("CDS", "*")
        self.assertEqual(self.told(), {"CDS": ("b", "")})

    def test_rejection(self) -> None:
        """
        What was refused with others is offered again with the next change.
        """
        self.session.setSnapshot(snapshot(clusters="a b"))
        self.ask("CDS")
        self.told()
        self.answer("CDS", error="bad b")
        self.assertEqual(self.told(), {})
        rejection = self.session.subscriptions[CLUSTER].rejection
        assert rejection is not None
        self.assertEqual(rejection.message, "bad b")
        self.session.setSnapshot(snapshot(clusters="a b=2"))
        self.assertEqual(self.told(), {"CDS": ("a b", "")})

    def test_takenBack(self) -> None:
        """
        What was refused and is taken back is taken away, for the proxy may have it in an earlier version; when it says
        yes to that it refuses nothing any more.
        """
        self.session.setSnapshot(snapshot(listeners="a b"))
        self.ask("LDS")
        self.told()
        self.answer("LDS")
        self.session.setSnapshot(snapshot(listeners="a=2 b=2 c"))
        self.told()
        self.answer("LDS", error="bad b")
        self.session.setSnapshot(snapshot(listeners="a=2"))
        self.assertEqual(self.told(), {"LDS": ("a", "b c")})
        self.assertFalse(self.session.hasAll(LISTENER))
        self.answer("LDS")
        self.assertTrue(self.session.hasAll(LISTENER))
        self.assertEqual(self.told(), {})

    def test_withdrawn(self) -> None:
        """
        What was said to be gone in a response that was refused is said to be gone again with the next change: the proxy
        may have it still.
        """
        self.session.setSnapshot(snapshot(clusters="a b c"))
        self.ask("CDS")
        self.told()
        self.answer("CDS")
        self.session.setSnapshot(snapshot(clusters="a=bad"))
        self.assertEqual(self.told(), {"CDS": ("a", "b c")})
        self.answer("CDS", error="bad a")
        self.session.setSnapshot(snapshot(clusters="a=2 c"))
        self.assertEqual(self.told(), {"CDS": ("a c", "b")})
        self.answer("CDS")
        self.session.setSnapshot(snapshot(clusters="a=3 c"))
        self.assertEqual(self.told(), {"CDS": ("a", "")})

    def test_makeBeforeBreak(self) -> None:
        """
        As with the state of the world: first what is new, last what is gone.
        """
        self.session.setSnapshot(snapshot(clusters="a", endpoints="a", listeners="l", routes="r"))
        for name, names in (("CDS", ""), ("EDS", "a"), ("LDS", ""), ("RDS", "r")):
            self.ask(name, names)
            self.told()
            self.answer(name)
        self.session.setSnapshot(snapshot(clusters="b", endpoints="b", listeners="l", routes="r=2"))
        self.assertEqual(self.told(), {"CDS": ("b", "")})
        self.answer("CDS")
        self.ask("EDS", "b")
        self.assertEqual(self.told(), {"EDS": ("b", "")})
        self.answer("EDS")
        self.assertEqual(self.told(), {"RDS": ("r", "")})
        self.answer("RDS")
        self.assertEqual(self.told(), {"CDS": ("", "a"), "EDS": ("", "a")})
        self.answer("CDS")
        self.answer("EDS")
        self.ask("EDS", "", "a")
        self.assertEqual(self.told(), {})

    def test_noEndpoints(self) -> None:
        """
        A cluster without endpoints is told to have none, once, and gets them when there are some.
        """
        self.session.setSnapshot(snapshot(clusters="a"))
        self.ask("EDS", "a")
        self.assertEqual(self.told(), {"EDS": ("a", "")})
        self.answer("EDS")
        self.assertEqual(self.told(), {})
        self.session.setSnapshot(snapshot(clusters="a b"))
        self.assertEqual(self.told(), {})
        self.session.setSnapshot(snapshot(clusters="a b", endpoints="a"))
        self.assertEqual(self.told(), {"EDS": ("a", "")})


class TypeTests(SynchronousTestCase):
    """
    Which types there are.
    """

    def test_shortNames(self) -> None:
        """
        The usual ones, and the name of others.
        """
        names = [shortName(one) for one in (CLUSTER, ENDPOINTS, LISTENER, ROUTES)]
        self.assertEqual(names, ["CDS", "EDS", "LDS", "RDS"])
        self.assertEqual(shortName("type.googleapis.com/a.b.Other"), "Other")
