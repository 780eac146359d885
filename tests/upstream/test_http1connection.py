"""
L{meshproxy.upstream.http1connection}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from meshproxy.codec.http1 import Http1Options
from meshproxy.flags import ResetReason
from meshproxy.headers import HeaderMap, RequestHeaders
from meshproxy.testing import Answer
from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
from meshproxy.upstream.settings import ClusterSettings
from tests.upstream.support import Asker, PoolKit


class ConnectionCase(SynchronousTestCase):
    """
    A connection of a pool, and its backend's end.
    """

    def setUp(self) -> None:
        self.kit = PoolKit()

    def hanging(self, **options: object) -> tuple[Asker, HTTP1UpstreamConnection]:
        """
        A request that its backend does not answer by itself.
        """
        self.kit.backend.answer(Answer.hang())
        asker = self.kit.served(**options)
        assert asker.connection is not None
        return asker, asker.connection

    def respond(self, data: bytes) -> None:
        """
        Let the backend say something.
        """
        self.kit.backend.connections[-1].write(data)
        self.kit.settle()


class ResponseTests(ConnectionCase):
    """
    What a request is told.
    """

    def test_interface(self) -> None:
        """
        The transport's producer.
        """
        self.assertTrue(verifyObject(IPushProducer, self.hanging()[1]))

    def test_pieces(self) -> None:
        """
        Interim responses, head, body and trailers, as they come.
        """
        self.kit = PoolKit(ClusterSettings(http1=Http1Options(enableTrailers=True)))
        asker, _ = self.hanging()
        self.respond(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        self.respond(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        self.respond(b"3\r\nabc\r\n")
        self.respond(b"0\r\nx-t: 1\r\n\r\n")
        self.assertEqual(asker.told, ["ready", 103, 200, {b"x-t": b"1"}, "end"])
        self.assertEqual(asker.body, b"abc")
        self.assertEqual(len(self.kit.pool.idle), 1)

    def test_byteByByte(self) -> None:
        """
        However the bytes come.
        """
        self.kit.network.readSize = 1
        asker = self.kit.served()
        self.assertEqual((asker.told, asker.body), (["ready", 200, "end"], b"ok"))

    def test_endByClose(self) -> None:
        """
        A response without a length ends with the connection, which is not kept.
        """
        self.kit.backend.answer(Answer.close(b"HTTP/1.1 200 OK\r\n\r\nall of it"))
        asker = self.kit.served()
        self.assertEqual((asker.told, asker.body), (["ready", 200, "end"], b"all of it"))
        self.assertEqual(len(self.kit.pool.connections), 0)
        self.assertEqual(self.kit["upstream_rq_active"], 0)

    def test_cutOff(self) -> None:
        """
        One that is cut off is reset.
        """
        self.kit.backend.answer(Answer.close(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"))
        asker = self.kit.served()
        self.assertEqual(asker.told[:2], ["ready", 200])
        self.assertEqual(asker.body, b"abc")
        self.assertIsInstance(asker.told[2], ResetReason)
        self.assertEqual(self.kit["upstream_cx_destroy_remote_with_active_rq"], 1)

    def test_closedInstead(self) -> None:
        """
        So is one that never began.
        """
        self.kit.backend.answer(Answer.close())
        self.assertEqual(self.kit.served().told, ["ready", ResetReason.CONNECTION_TERMINATION])

    def test_protocolError(self) -> None:
        """
        One that is no HTTP is reset as such, and the connection dropped.
        """
        asker, _ = self.hanging()
        self.respond(b"SSH-2.0-nonsense\r\n\r\n")
        self.assertEqual(asker.told, ["ready", ResetReason.PROTOCOL_ERROR])
        self.assertEqual(len(self.kit.pool.connections), 0)
        self.assertEqual(self.kit["upstream_cx_protocol_error"], 1)

    def test_counted(self) -> None:
        """
        Bytes are counted both ways.
        """
        self.kit.served()
        self.assertGreater(self.kit["upstream_cx_rx_bytes_total"] or 0, 20)
        self.assertGreater(self.kit["upstream_cx_tx_bytes_total"] or 0, 20)


class RequestTests(ConnectionCase):
    """
    What a request sends.
    """

    def test_body(self) -> None:
        """
        Pieces of a body, and its end.
        """
        asker = self.kit.served(pieces=[b"ab", b"cd"])
        self.assertEqual(asker.told, ["ready", 200, "end"])
        self.assertEqual(self.kit.backend.last.body, b"abcd")
        self.assertEqual(len(self.kit.pool.idle), 1)

    def test_trailers(self) -> None:
        """
        Trailers end a request as well.
        """
        asker, connection = self.hanging(sends=False)
        connection.sendHeaders(RequestHeaders(b"POST", b"/", b"h", [(b"transfer-encoding", b"chunked")]), False)
        connection.sendData(b"x", False)
        connection.sendTrailers(HeaderMap([(b"x-t", b"1")]))
        self.kit.settle()
        self.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        self.assertEqual(asker.told[-1], "end")
        self.assertEqual(self.kit.backend.last.body, b"x")
        self.assertEqual(len(self.kit.pool.idle), 1)

    def test_responseFirst(self) -> None:
        """
        A response that is over before its request keeps the request until that is over, too. The connection is not
        used again: its upstream may have stopped to read.
        """
        for ending in ("data", "trailers"):
            self.kit.backend.answers.clear()
            self.kit.backend.answer(Answer(body=b"early", early=True))
            asker = self.kit.served(sends=False)
            connection = asker.connection
            assert connection is not None
            connection.sendHeaders(RequestHeaders(b"POST", b"/", b"h", [(b"transfer-encoding", b"chunked")]), False)
            self.kit.settle()
            self.assertEqual(asker.told, ["ready", 200, "end"])
            self.assertEqual((len(self.kit.pool.idle), self.kit["upstream_rq_active"]), (0, 1))
            if ending == "data":
                connection.sendData(b"late", True)
            else:
                connection.sendTrailers(HeaderMap())
            self.assertEqual((len(self.kit.pool.idle), self.kit["upstream_rq_active"]), (0, 0))

    def test_reset(self) -> None:
        """
        A request that is given up takes its connection with it, and is told nothing more.
        """
        asker, connection = self.hanging()
        connection.reset(asker)
        connection.reset(asker)
        self.kit.settle()
        self.assertEqual(asker.told, ["ready"])
        self.assertEqual(self.kit["upstream_cx_destroy_local_with_active_rq"], 1)
        self.assertEqual(self.kit["upstream_rq_active"], 0)
        self.assertTrue(self.kit.backend.connections[0].wasReset)

    def test_resetOfAnother(self) -> None:
        """
        Giving up a request that is over does nothing to the one that has the connection now.
        """
        first = self.kit.served()
        second, connection = self.hanging()
        connection.reset(first)
        self.kit.settle()
        self.assertIs(connection.request, second)


class BackPressureTests(ConnectionCase):
    """
    Both ways.
    """

    def test_slowUpstream(self) -> None:
        """
        An upstream that does not read pauses the request, and resumes it when it has.
        """
        self.kit.network.capacity = 1000
        asker, connection = self.hanging(sends=False)
        connection.transport.bufferSize = 5000  # type: ignore[union-attr]  # a transport of this program
        self.kit.backend.connections[-1].pause()
        connection.sendHeaders(RequestHeaders(b"POST", b"/", b"h", [(b"content-length", b"20000")]), False)
        connection.sendData(b"x" * 20000, True)
        self.kit.settle()
        self.assertEqual(asker.told, ["ready", "pause"])
        self.kit.backend.connections[-1].resume()
        self.kit.settle()
        self.assertEqual(asker.told, ["ready", "pause", "resume"])
        self.assertEqual(self.kit["upstream_flow_control_backed_up_total"], 1)
        self.assertEqual(self.kit["upstream_flow_control_drained_total"], 1)

    def test_longBody(self) -> None:
        """
        From a peer that fills a read, more is read at once, until the response is over or has to wait.
        """
        asker, connection = self.hanging()
        seen: list[int] = []
        receive = connection._receiveParts

        def receiveParts(data: bytes) -> None:
            seen.append(len(data))
            receive(data)

        self.patch(connection, "_receiveParts", receiveParts)
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 250000\r\n\r\n"
        self.respond(head + b"x" * 250000)
        self.assertEqual(seen, [16384, 65536, len(head) + 250000 - 16384 - 65536])
        self.assertEqual(asker.told[-1], "end")
        transport: Any = connection.transport
        self.assertEqual(transport.readSize, 16384)
        transport.expectMore()
        connection.pauseReading()
        self.assertEqual(transport.readSize, 16384)

    def test_slowDownstream(self) -> None:
        """
        A downstream that does not read stops the reading here.
        """
        asker, connection = self.hanging()
        connection.pauseReading()
        self.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        self.assertEqual(asker.told, ["ready"])
        connection.resumeReading()
        self.kit.settle()
        self.assertEqual(asker.told, ["ready", 200, "end"])
        self.assertEqual(self.kit["upstream_flow_control_paused_reading_total"], 1)
        self.assertEqual(self.kit["upstream_flow_control_resumed_reading_total"], 1)
