"""
L{meshproxy.upstream.http1pool}.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.flags import ResetReason
from meshproxy.net.address import Address
from meshproxy.net.deadlines import Deadlines
from meshproxy.testing import Answer
from meshproxy.testing.backend import OK
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.settings import ClusterSettings
from tests.upstream.support import Asker, PoolKit

ANSWERED = ["ready", 200, "end"]


class PoolCase(SynchronousTestCase):
    """
    A pool before a backend.
    """

    def make(self, settings: ClusterSettings | None = None, **limits: Any) -> PoolKit:
        """
        Make it, and see in the end that the books are even.
        """
        self.kit = PoolKit(settings, **limits)
        return self.kit

    def tearDown(self) -> None:
        """
        Whatever happened, what was taken was given back.
        """
        kit = self.kit
        kit.backend.answers.clear()
        kit.backend.default = OK
        kit.pool.drain()
        for connection in list(kit.pool.connections):
            connection.abort()
        kit.reactor.advance(30)
        breaker = kit.breaker
        used = [breaker.connections.used, breaker.pending.used, breaker.requests.used]
        self.assertEqual(used, [0, 0, 0])
        active = [kit[f"upstream_{name}"] for name in ("cx_active", "rq_active", "rq_pending_active")]
        self.assertEqual(active, [0, 0, 0])
        self.assertEqual((kit.endpoint.active, kit.endpoint.cxActive.value), (0, 0))
        self.assertEqual(kit["upstream_cx_total"], kit["upstream_cx_destroy"])
        self.assertEqual(
            kit["upstream_cx_destroy"],
            (kit["upstream_cx_destroy_local"] or 0) + (kit["upstream_cx_destroy_remote"] or 0),
        )


class ReuseTests(PoolCase):
    """
    Connections that serve again.
    """

    def test_first(self) -> None:
        """
        The first request waits for a connection, and gets one.
        """
        kit = self.make()
        [asker] = kit.ask()
        self.assertEqual((asker.told, kit["upstream_rq_pending_active"]), ([], 1))
        kit.settle()
        self.assertEqual(asker.told, ANSWERED)
        self.assertEqual(asker.body, b"ok")
        self.assertEqual((kit["upstream_rq_pending_total"], kit["upstream_cx_total"]), (1, 1))
        self.assertEqual(kit.endpoint.rqTotal.value, 1)

    def test_again(self) -> None:
        """
        The next one gets the same, at once.
        """
        kit = self.make()
        first = kit.served()
        [second] = kit.ask()
        self.assertEqual(second.told, ["ready"])
        self.assertIs(second.connection, first.connection)
        kit.settle()
        self.assertEqual(second.told, ANSWERED)
        self.assertEqual(kit["upstream_cx_total"], 1)
        self.assertEqual(len(kit.backend.connections), 1)

    def test_newestFirst(self) -> None:
        """
        Of idle connections the one that was used last is taken, so that the others grow old.
        """
        kit = self.make()
        askers = kit.ask(3)
        kit.settle()
        self.assertEqual(len(kit.pool.idle), 3)
        newest = kit.pool.idle[-1]
        self.assertIs(newest, askers[2].connection)
        for _ in range(3):
            self.assertIs(kit.served().connection, newest)

    def test_concurrent(self) -> None:
        """
        Each request under way has a connection of its own.
        """
        kit = self.make()
        kit.backend.default = Answer.hang()
        askers = kit.ask(4)
        kit.settle()
        self.assertEqual(len({asker.connection for asker in askers}), 4)
        self.assertEqual((kit["upstream_rq_active"], kit.endpoint.active), (4, 4))

    def test_freedConnection(self) -> None:
        """
        A connection that becomes free serves the request that waited longest.
        """
        kit = self.make(connections=1)
        kit.backend.default = Answer(body=b"ok", delay=1)
        askers = kit.ask(3)
        for count in (1, 2, 3):
            kit.reactor.advance(1)
            self.assertEqual([asker.told == ANSWERED for asker in askers].count(True), count)
            self.assertEqual(askers[count - 1].told, ANSWERED)
        self.assertEqual(kit["upstream_cx_total"], 1)


class EndTests(PoolCase):
    """
    Connections that serve no more.
    """

    def test_maxRequests(self) -> None:
        """
        C{max_requests_per_connection}.
        """
        kit = self.make(ClusterSettings(maxRequestsPerConnection=2))
        connections = [kit.served().connection for _ in range(5)]
        self.assertEqual(len(set(connections)), 3)
        self.assertEqual(kit["upstream_cx_max_requests"], 2)

    def test_notKept(self) -> None:
        """
        C{Connection: close} of the upstream is heeded.
        """
        kit = self.make()
        kit.backend.default = Answer(body=b"bye", headers=[("connection", "close")])
        self.assertIsNot(kit.served().connection, kit.served().connection)
        self.assertEqual(kit["upstream_cx_close_notify"], 2)

    def test_idleTimeout(self) -> None:
        """
        A connection that is idle for too long closes; one in use does not.
        """
        kit = self.make(ClusterSettings(idleTimeout=10.0))
        kit.served()
        kit.reactor.advance(9)
        kit.backend.answer(Answer(body=b"slow", delay=20))
        asker = kit.served()
        kit.reactor.advance(21)
        self.assertEqual(asker.told, ANSWERED)
        kit.reactor.advance(8)
        self.assertEqual(len(kit.pool.idle), 1)
        kit.reactor.advance(3)
        self.assertEqual(len(kit.pool.idle), 0)
        self.assertTrue(kit.backend.connections[0].closed)

    def test_closingIsNotGiven(self) -> None:
        """
        A connection that was told to close, and is not gone yet, is given to nobody.
        """
        kit = self.make()
        for close in ("close", "abort"):
            old = kit.served().connection
            assert old is not None
            getattr(old, close)()
            [asker] = kit.ask()
            self.assertEqual(asker.told, [])
            kit.settle()
            self.assertEqual(asker.told, ANSWERED)
            self.assertIsNot(asker.connection, old)

    def test_upstreamCloses(self) -> None:
        """
        An idle connection that the upstream closes is forgotten.
        """
        kit = self.make()
        kit.served()
        kit.backend.connections[0].close()
        kit.settle()
        self.assertEqual((len(kit.pool.idle), len(kit.pool.connections)), (0, 0))
        self.assertEqual(kit.served().told, ANSWERED)
        self.assertEqual(kit["upstream_cx_destroy_remote"], 1)

    def test_closedUnread(self) -> None:
        """
        An idle connection whose end came, but was not read yet, gets no request; one that was idle for no time at all
        is not looked at.
        """
        kit = self.make()
        askers = [Asker() for _ in range(3)]
        for asker in askers:
            kit.pool.request(asker)
        kit.reactor.settle()
        newest = kit.pool.idle[-1]
        kit.reactor.advance(1)
        ends: list[Any] = [connection.transport for connection in kit.backend.connections]
        for transport in ends[1:]:
            transport.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(len(kit.pool.idle), 3)
        late = Asker()
        kit.pool.request(late)
        self.assertIsNone(newest.request)
        kit.reactor.settle()
        self.assertEqual(late.told, ANSWERED)
        self.assertEqual((len(kit.pool.idle), len(kit.backend.connections)), (1, 3))
        kit.reactor.advance(1)
        ends[0].socket.shutdown(socket.SHUT_WR)
        last = Asker()
        kit.pool.request(last)
        kit.reactor.settle()
        self.assertEqual((last.told, len(kit.backend.connections)), (ANSWERED, 4))

    def test_unasked(self) -> None:
        """
        An upstream that speaks before it is asked breaks the protocol: the connection is dropped, not used.
        """
        kit = self.make()
        kit.served()
        kit.backend.connections[0].write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
        kit.settle()
        self.assertEqual(len(kit.pool.idle), 0)
        self.assertEqual(kit["upstream_cx_protocol_error"], 1)
        self.assertEqual(kit.served().body, b"ok")

    def test_duration(self) -> None:
        """
        A connection that is too old closes after its response.
        """
        kit = self.make(ClusterSettings(maxConnectionDuration=10.0))
        kit.backend.answer(Answer(body=b"slow", delay=11))
        asker = kit.served()
        kit.reactor.advance(12)
        self.assertEqual(asker.told, ANSWERED)
        self.assertEqual(len(kit.pool.connections), 0)
        self.assertEqual(kit["upstream_cx_max_duration_reached"], 1)

    def test_requestsPerConnection(self) -> None:
        """
        When a connection ends, it is counted how many requests it had.
        """
        kit = self.make()
        kit.served()
        connection = kit.served().connection
        assert connection is not None
        self.assertEqual(dict(kit.stats.rqPerCx.bins), {})
        connection.close()
        kit.reactor.advance(1)
        self.assertEqual(dict(kit.stats.rqPerCx.bins), {2: 1})

    def test_durationsAreWatched(self) -> None:
        """
        One that is idle is told by the clock, as long as it is there.
        """
        kit = self.make()
        old: list[Any] = []
        kit.durations = Deadlines(kit.reactor, 10, old.append)
        kit.pool = kit.makePool(kit.endpoint)
        first = kit.served().connection
        kit.reactor.advance(11)
        self.assertEqual(old, [first])
        assert first is not None
        first.close()
        kit.served()
        second = kit.pool.idle[0]
        second.close()
        kit.reactor.advance(30)
        self.assertEqual(old, [first])

    def test_drain(self) -> None:
        """
        Draining closes what is idle now, and the rest when its request is over; who asks still is served.
        """
        kit = self.make()
        kit.served()
        kit.backend.answer(Answer(body=b"slow", delay=5))
        slow = kit.served()
        kit.pool.drain()
        kit.settle()
        self.assertEqual(len(kit.pool.connections), 1)
        late = kit.served()
        self.assertEqual(late.told, ANSWERED)
        kit.reactor.advance(5)
        self.assertEqual(slow.told, ANSWERED)
        self.assertEqual(len(kit.pool.connections), 0)

    def test_drainIdle(self) -> None:
        """
        All that is idle closes, however many there are.
        """
        kit = self.make()
        kit.ask(5)
        kit.settle()
        kit.pool.drain()
        self.assertEqual(len(kit.pool.idle), 0)
        kit.settle()
        self.assertEqual(len(kit.pool.connections), 0)


class LimitTests(PoolCase):
    """
    Circuit breakers.
    """

    def test_pending(self) -> None:
        """
        More requests than may wait are refused at once.
        """
        kit = self.make(pending=2)
        askers = kit.ask(3)
        self.assertEqual([asker.told for asker in askers], [[], [], [ResetReason.OVERFLOW]])
        self.assertEqual(kit["upstream_rq_pending_overflow"], 1)
        self.assertEqual(kit["circuit_breakers.default.rq_pending_open"], 1)
        kit.settle()
        self.assertEqual([asker.told for asker in askers[:2]], [ANSWERED, ANSWERED])
        self.assertEqual(kit["circuit_breakers.default.rq_pending_open"], 0)

    def test_requests(self) -> None:
        """
        More requests than may be under way are refused, on an idle connection and on a new one.
        """
        kit = self.make(requests=2)
        kit.ask(2)
        kit.settle()
        kit.backend.default = Answer.hang()
        active = kit.ask(1) + kit.ask(1)
        kit.settle()
        self.assertEqual([asker.told for asker in active], [["ready"], ["ready"]])
        refused = kit.served()
        self.assertEqual(refused.told, [ResetReason.OVERFLOW])
        self.assertEqual(kit["circuit_breakers.default.rq_open"], 1)
        # The connection that was made for it is idle now: there the limit holds, too.
        self.assertEqual(kit.served().told, [ResetReason.OVERFLOW])
        self.assertEqual(kit["upstream_rq_active_overflow"], 2)

    def test_manyRefused(self) -> None:
        """
        A thousand that wait are refused without a stack as deep.
        """
        kit = self.make(requests=1, pending=5000, connections=1)
        kit.backend.default = Answer.hang()
        kit.served()
        other = kit.makePool(Endpoint(kit.endpoint.address))
        askers = [Asker() for _ in range(2000)]
        for asker in askers:
            other.request(asker)
        kit.settle()
        self.assertEqual({tuple(asker.told) for asker in askers}, {(ResetReason.OVERFLOW,)})
        for connection in list(other.connections):
            connection.abort()

    def test_connections(self) -> None:
        """
        At the limit no further connection is made, but for a pool that has none: that would starve.
        """
        kit = self.make(connections=1)
        kit.backend.default = Answer.hang()
        kit.ask(3)
        kit.settle()
        self.assertEqual((kit["upstream_cx_total"], kit["upstream_cx_overflow"]), (1, 2))
        other = kit.makePool(kit.endpoint)
        asker = Asker()
        other.request(asker)
        kit.settle()
        self.assertEqual(asker.told, ["ready"])
        self.assertEqual((kit["upstream_cx_total"], kit["upstream_cx_overflow"]), (2, 3))
        for connection in list(other.connections):
            connection.abort()

    def test_perHost(self) -> None:
        """
        An endpoint may have fewer connections than its cluster.
        """
        kit = self.make(perHost=2)
        kit.backend.default = Answer.hang()
        kit.ask(3)
        kit.settle()
        self.assertEqual((kit["upstream_cx_total"], kit["upstream_cx_overflow"]), (2, 1))

    def test_connectionLostAtLimit(self) -> None:
        """
        Those who wait at the limit get a new connection when the only one is lost.
        """
        kit = self.make(connections=1)
        kit.backend.answer(Answer.reset())
        lost, waiting = kit.ask(2)
        kit.reactor.advance(1)
        self.assertEqual(lost.told, ["ready", ResetReason.CONNECTION_TERMINATION])
        self.assertEqual(waiting.told, ANSWERED)


class FailureTests(PoolCase):
    """
    Connections that do not come.
    """

    def test_refused(self) -> None:
        """
        All that wait fail with the attempt, and are told why.
        """
        kit = self.make()
        kit.backend.stop()
        askers = kit.ask(3)
        kit.settle()
        self.assertEqual({tuple(asker.told) for asker in askers}, {(ResetReason.REMOTE_CONNECTION_FAILURE,)})
        self.assertEqual(kit["upstream_rq_pending_failure_eject"], 3)
        self.assertEqual(kit["upstream_cx_connect_fail"], 3)
        self.assertEqual(kit.endpoint.rqError.value, 3)
        kit.backend.start()
        self.assertEqual(kit.served().told, ANSWERED)

    def test_timeout(self) -> None:
        """
        So it is with an attempt that takes too long.
        """
        kit = self.make(ClusterSettings(connectTimeout=2.0))
        kit.network.silent.add(kit.endpoint.address)
        [asker] = kit.ask()
        kit.reactor.advance(1.9)
        self.assertEqual(asker.told, [])
        kit.reactor.advance(0.2)
        self.assertEqual(asker.told, [ResetReason.CONNECTION_TIMEOUT])
        self.assertEqual((kit["upstream_cx_connect_timeout"], kit["upstream_cx_connect_fail"]), (1, 1))

    def test_cancel(self) -> None:
        """
        One who gives up is told nothing more; an attempt that nobody waits for is given up as well.
        """
        kit = self.make()
        first, second = kit.ask(2)
        kit.pool.cancel(first)
        kit.pool.cancel(first)
        self.assertEqual(kit["upstream_rq_cancelled"], 1)
        kit.pool.cancel(second)
        self.assertEqual(len(kit.pool.connections), 0)
        kit.settle()
        self.assertEqual((first.told, second.told), ([], []))
        self.assertEqual(kit.backend.connections, [])
        self.assertEqual(kit["upstream_cx_destroy_local"], 2)

    def test_cancelOneOfTwo(self) -> None:
        """
        While somebody else waits, the attempts go on.
        """
        kit = self.make()
        first, second = kit.ask(2)
        kit.pool.cancel(first)
        kit.settle()
        self.assertEqual((first.told, second.told), ([], ANSWERED))

    def test_otherPool(self) -> None:
        """
        A failure is that of one endpoint.
        """
        kit = self.make()
        other = kit.makePool(Endpoint(Address("192.0.2.99", 80)))
        failing = Asker()
        other.request(failing)
        self.assertEqual(kit.served().told, ANSWERED)
        self.assertEqual(failing.told, [ResetReason.REMOTE_CONNECTION_FAILURE])
