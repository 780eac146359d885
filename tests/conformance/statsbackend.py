"""
An upstream for comparisons of what is counted: it speaks HTTP/1.1 or HTTP/2, and what it does is what the path of a
request asks for.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

__all__ = ["StatsBackend"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

#: What comes in HTTP/1.1 for a path, and what then becomes of the connection: it stays, closes or is reset.
_ANSWERS: dict[str, tuple[bytes, str]] = {
    "ok": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", ""),
    "empty": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""),
    "none": (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
    "error": (b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno", ""),
    "busy": (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", ""),
    "partial": (b"HTTP/1.1 200 O", "close"),
    "missing": (b"HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nno", ""),
    "chunked": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", ""),
    "trailers": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n", ""),
    "interim": (b"HTTP/1.1 103 Early\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", ""),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", ""),
    "leaves": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok", "close"),
    "gone": (b"", "close"),
    "reset": (b"", "reset"),
    "cut": (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", "close"),
    "garbage": (b"garbage\r\n\r\n", ""),
    "upgrade": (b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", "tunnel"),
    "socket": (b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", "once"),
    "call": (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n"
        b"5\r\n\0\0\0\0\0\r\n0\r\ngrpc-status: 0\r\n\r\n",
        "",
    ),
    "failed": (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n",
        "",
    ),
}


class StatsBackend:
    """
    Listens until it is closed.
    """

    def __init__(self, sock: socket.socket) -> None:
        """
        @param sock: Bound, and not listening yet.
        """
        self.sock = sock
        sock.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self.sock.accept()
                threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError, h2.exceptions.ProtocolError), sock:
            data = sock.recv(65536)
            while data and len(data) < 3:
                data += sock.recv(65536)
            if data.startswith(_PREFACE[:3]):
                _HTTP2Connection(sock).run(data)
            else:
                _serveHTTP1(sock, data)


def _serveHTTP1(sock: socket.socket, data: bytes) -> None:
    while data:
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            if not more:
                return
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        head = head.lower() + b"\r\n"
        path = head.split(b" ")[1].decode()[1:]
        if path == "early":
            sock.sendall(_ANSWERS["missing"][0])
        else:
            rest = _withBody(sock, head, rest)
        if path in ("hang", "early"):
            sock.recv(65536)
            return
        answer, then = _ANSWERS[path]
        sock.sendall(answer)
        if then == "tunnel":
            while echoed := sock.recv(65536):
                sock.sendall(echoed)
        if then == "once":
            sock.sendall(sock.recv(65536))
        if then == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if then:
            return
        data = rest or sock.recv(65536)


def _withBody(sock: socket.socket, head: bytes, rest: bytes) -> bytes:
    """
    Read a body, and give what came behind it.
    """
    if b"\r\ntransfer-encoding: chunked\r\n" in head:
        while b"0\r\n" not in rest or not rest.endswith(b"\r\n\r\n"):
            rest += sock.recv(65536)
        return b""
    _, mark, length = head.partition(b"\r\ncontent-length: ")
    size = int(length.split(b"\r\n")[0]) if mark else 0
    while len(rest) < size:
        rest += sock.recv(65536)
    return rest[size:]


class _HTTP2Connection:
    """
    One connection of HTTP/2.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, validate_outbound_headers=False)
        )
        self._paths: dict[int, str] = {}

    def run(self, data: bytes) -> None:
        """
        Serve until it ends.
        """
        connection = self._connection
        # What is announced first: RFC 8441, 3.
        codes = h2.settings.SettingCodes
        first = {codes(code): value for code, value in connection.local_settings.items()}
        first[codes.ENABLE_CONNECT_PROTOCOL] = 1
        connection.local_settings = h2.settings.Settings(client=False, initial_values=first)
        connection.initiate_connection()
        while data:
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    fields = {bytes(name): bytes(value) for name, value in event.headers}
                    path = self._paths[event.stream_id] = fields[b":path"].decode()[1:]
                    if path in ("early", "upgrade", "socket") or b":protocol" in fields:
                        self._answer(event.stream_id, path)
                elif isinstance(event, h2.events.DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    if self._paths.get(event.stream_id) in ("upgrade", "socket"):
                        ends = self._paths[event.stream_id] == "socket"
                        connection.send_data(event.stream_id, event.data, end_stream=ends)
                elif isinstance(event, h2.events.StreamEnded) and self._paths[event.stream_id] not in (
                    "upgrade",
                    "socket",
                ):
                    if not self._answer(event.stream_id, self._paths[event.stream_id]):
                        return
            self._sock.sendall(connection.data_to_send())
            data = self._sock.recv(65536)

    def _send(self, streamId: int, fields: list[tuple[str, str]], *rest: bytes, ends: bool = True) -> None:
        self._connection.send_headers(streamId, fields, end_stream=ends and not rest)
        for piece in rest:
            self._connection.send_data(streamId, piece, end_stream=ends)

    def _answer(self, streamId: int, path: str) -> bool:
        """
        Answer a request.

        @return: Whether the connection stays.
        """
        connection = self._connection
        ok = [(":status", "200")]
        call = [*ok, ("content-type", "application/grpc")]
        if path in ("interim", "continue"):
            connection.send_headers(streamId, [(":status", "103" if path == "interim" else "100")])
            self._send(streamId, ok, b"ok")
        elif path in ("ok", "chunked"):
            self._send(streamId, ok, b"ok")
        elif path == "empty":
            self._send(streamId, ok)
        elif path in ("none", "busy"):
            self._send(streamId, [(":status", "204" if path == "none" else "503")])
        elif path in ("error", "missing", "early"):
            self._send(streamId, [(":status", "503" if path == "error" else "404")], b"no")
        elif path == "trailers":
            self._send(streamId, ok, b"ok", ends=False)
            connection.send_headers(streamId, [("x-t", "1")], end_stream=True)
        elif path == "call":
            self._send(streamId, call, b"\0\0\0\0\0", ends=False)
            connection.send_headers(streamId, [("grpc-status", "0")], end_stream=True)
        elif path == "failed":
            self._send(streamId, [*call, ("grpc-status", "14")])
        elif path == "leaves":
            self._send(streamId, ok, b"ok")
            connection.close_connection()
        elif path == "reset":
            connection.reset_stream(streamId, 2)
        elif path == "cut":
            self._send(streamId, ok, b"ok", ends=False)
            connection.reset_stream(streamId, 2)
        elif path in ("upgrade", "socket"):
            self._send(streamId, ok, ends=False)
        elif path == "garbage":
            self._sock.sendall(connection.data_to_send() + b"\0\0\1\1\4\0\0\0\0x")
            return False
        elif path == "partial":
            self._sock.sendall(connection.data_to_send() + b"\0\0\5\1\4\0\0\0\1x")
            return False
        elif path == "gone":
            self._sock.sendall(connection.data_to_send())
            return False
        return True
