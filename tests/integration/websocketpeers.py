"""
A WebSocket server of the package C{websockets}.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from http import HTTPStatus
from types import TracebackType

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

__all__ = ["WebSocketServer"]


def _prefersChat(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return Subprotocol("chat") if "chat" in offered else None


def _deny(connection: ServerConnection, request: Request) -> Response | None:
    return connection.respond(HTTPStatus.UNAUTHORIZED, "not you\n") if request.path == "/denied" else None


class WebSocketServer:
    """
    Serves in a thread of its own: what is said at C{/echo} comes back, C{/first} says something first, C{/close} closes
    with a code of its own as soon as something is said, C{/gone} cuts the connection off then; C{/denied} is
    not for anybody.

    @ivar port: Where it listens, on 127.0.0.1.
    @ivar closes: Code and reason of each connection that is over, by the side that closed it.
    @ivar paths: What was asked for.
    @ivar extensions: What each handshake agreed upon.
    """

    def __init__(self) -> None:
        self.closes: list[tuple[str, int | None, str | None]] = []
        self.paths: list[str] = []
        self.extensions: list[str] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> WebSocketServer:
        self._thread.start()
        if not self._ready.wait(60):
            raise AssertionError("the server did not begin to listen")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._end is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(20)

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        async with serve(
            self._talk,
            "127.0.0.1",
            0,
            max_size=None,
            ping_interval=None,
            select_subprotocol=_prefersChat,
            process_request=_deny,
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._end.wait()

    async def _talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None and connection.response is not None
        path = connection.request.path
        self.paths.append(path)
        self.extensions.append(connection.response.headers.get("Sec-WebSocket-Extensions", ""))
        if path == "/first":
            await connection.send("welcome")
        try:
            async for message in connection:
                if path == "/close":
                    await connection.close(4001, "enough")
                elif path == "/gone":
                    connection.transport.abort()
                else:
                    await connection.send(message)
        except ConnectionClosed:
            pass
        await connection.wait_closed()
        sent = connection.protocol.close_rcvd_then_sent is False
        self.closes.append(("here" if sent else "there", connection.close_code, connection.close_reason))
