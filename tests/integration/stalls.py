"""
Clients of HTTP/2 that ask for a thousand long responses and let none of them go: what a proxy keeps of them.

C{python -m tests.integration.stalls} prints the figures of this proxy and, with C{--proxy envoy}, those of Envoy.
"""

from __future__ import annotations

import argparse
import contextlib
import selectors
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.codec.http2.frames import PREFACE, block, data, headers, request, settings, windowUpdate
from tests.conformance.proxies import Proxy
from tests.integration.configs import bootstrap, cluster, forward, listener
from tests.integration.peers import Backend, Client
from tests.ports import freePorts

__all__ = ["Held", "Stall", "hold"]

_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

# How long everything may take to come to rest, and for how long it has to be so.
_PATIENCE = 60.0
_REST = 1.0

# What the services keep for the proxy in the kernel; it would hide what the proxy does not read.
_SEND_BUFFER = 16384

_PIECE = bytes(16384)


class _Endless(threading.Thread):
    """
    A service whose bodies have no end, in HTTP/1.1 or HTTP/2, for a thousand connections or streams at once.

    @ivar sent: How many bytes of bodies it got rid of.
    """

    def __init__(self, isHTTP2: bool) -> None:
        super().__init__(daemon=True)
        self._isHTTP2 = isHTTP2
        self._selector = selectors.DefaultSelector()
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(2048)
        self._listening.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self.port: int = self._listening.getsockname()[1]
        self.sent = 0
        self.asked = 0
        self._isOver = False

    def close(self) -> None:
        """
        End it, and its connections.
        """
        self._isOver = True
        self.join()

    def run(self) -> None:
        """
        Serve.
        """
        while not self._isOver:
            for key, events in self._selector.select(0.05):
                if key.fileobj is self._listening:
                    self._accept()
                else:
                    self._serve(key, events)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # sockets only
        self._selector.close()

    def _accept(self) -> None:
        sock, _ = self._listening.accept()
        sock.setblocking(False)
        made = _Second() if self._isHTTP2 else _First()
        self._selector.register(sock, selectors.EVENT_READ, made)

    def _serve(self, key: selectors.SelectorKey, events: int) -> None:
        sock: Any = key.fileobj
        try:
            if events & selectors.EVENT_READ:
                came = sock.recv(65536)
                if not came:
                    raise EOFError
                self.asked += key.data.receive(came)
            if key.data.refill():
                count = sock.send(key.data.waiting)
                del key.data.waiting[:count]
                self.sent += count
        except BlockingIOError:
            pass
        except (OSError, EOFError):
            self._selector.unregister(sock)
            sock.close()
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if key.data.refill() else 0)
        if wanted != key.events:
            self._selector.modify(sock, wanted, key.data)


class _First:
    """
    A connection of HTTP/1.1.
    """

    def __init__(self) -> None:
        self.waiting = bytearray()
        self._head = b""
        self._isAsked = False

    def receive(self, came: bytes) -> int:
        """
        Bytes came.

        @return: How many requests they end.
        """
        self._head += came
        if self._isAsked or b"\r\n\r\n" not in self._head:
            return 0
        self._isAsked = True
        self.waiting += b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"
        return 1

    def refill(self) -> bool:
        """
        Make more of the body, if it is time to.

        @return: Whether something waits to be sent.
        """
        if self._isAsked and not self.waiting:
            self.waiting += _PIECE
        return bool(self.waiting)


class _Second:
    """
    A connection of HTTP/2, which takes all the credit that it gets, in turns.
    """

    def __init__(self) -> None:
        self.waiting = bytearray(settings())
        self._came = b""
        self._connection = 65535
        self._initial = 65535
        self._windows: dict[int, int] = {}

    def receive(self, came: bytes) -> int:
        """
        See L{_First.receive}.
        """
        self._came += came
        if self._came.startswith(PREFACE[: len(self._came)]) and len(self._came) < len(PREFACE):
            return 0
        self._came = self._came.removeprefix(PREFACE)
        begun = 0
        while len(self._came) >= 9:
            length = int.from_bytes(self._came[:3], "big")
            if len(self._came) < 9 + length:
                break
            kind, flags = self._came[3], self._came[4]
            streamId = int.from_bytes(self._came[5:9], "big")
            payload = self._came[9 : 9 + length]
            self._came = self._came[9 + length :]
            begun += self._frame(kind, flags, streamId, payload)
        return begun

    def _frame(self, kind: int, flags: int, streamId: int, payload: bytes) -> int:
        if kind == 1:
            self._windows[streamId] = self._initial
            self.waiting += headers(streamId, block([(b":status", b"200")]), False)
            return 1
        if kind == 3:
            self._windows.pop(streamId, None)
        elif kind == 4 and not flags & 1:
            for name, value in struct.iter_unpack(">HL", payload):
                if name == 4:
                    self._initial = value
            self.waiting += settings(ack=True)
        elif kind == 8:
            credit = int.from_bytes(payload, "big")
            if not streamId:
                self._connection += credit
            elif streamId in self._windows:
                self._windows[streamId] += credit
        return 0

    def refill(self) -> bool:
        """
        See L{_First.refill}.
        """
        while not self.waiting and self._connection > 0 and self._windows:
            streamId = next(iter(self._windows))
            window = self._windows.pop(streamId)
            size = min(window, self._connection, 8192)
            if size > 0:
                self._windows[streamId] = window - size
                self._connection -= size
                self.waiting += data(streamId, _PIECE[:size])
            elif not any(each > 0 for each in self._windows.values()):
                self._windows[streamId] = window
                break
            else:
                self._windows[streamId] = window
        return bool(self.waiting)


@dataclass(frozen=True)
class Stall:
    """
    What a client does.

    @ivar streams: How many responses it asks for.
    @ivar window: What it lets each of them have.
    @ivar isHTTP2: Whether the service speaks HTTP/2.
    @ivar limit: C{per_connection_buffer_limit_bytes} of listener and cluster, 0 for the default.
    """

    streams: int = 1000
    window: int = 0
    isHTTP2: bool = False
    limit: int = 0


@dataclass
class Held:
    """
    What was seen.

    @ivar memory: By how many bytes the proxy had grown at the most, as each of the clients left.
    @ivar read: How many bytes of bodies it took from the service.
    @ivar served: How many requests of somebody else it answered meanwhile, over HTTP/1.1.
    @ivar failures: What went wrong with them.
    @ivar longest: How long the slowest of them took, in seconds.
    @ivar left: By how many bytes it was larger when the client had left.
    """

    memory: list[int] = field(default_factory=list)
    read: int = 0
    served: int = 0
    failures: list[str] = field(default_factory=list)
    longest: float = 0.0
    left: int = 0


def _memory(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) * 1024


def hold(kind: str, stall: Stall, rounds: int = 2) -> Held:
    """
    Have one client stall all its responses, and leave.

    @param kind: C{"meshproxy"} or C{"envoy"}.
    @param rounds: How many clients do, one after the other.
    """
    folder = Path(tempfile.mkdtemp(prefix="stalls-"))
    held = Held()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, True)
        service = _Endless(stall.isHTTP2)
        service.start()
        stack.callback(service.close)
        good = Backend(b"good")
        stack.callback(good.close)
        (port,) = freePorts(1)
        limit = {"per_connection_buffer_limit_bytes": stall.limit} if stall.limit else {}
        front = listener(
            "front",
            port,
            forward("endless", "/endless", timeout="0s"),
            forward("good"),
            codec_type="AUTO",
            stream_idle_timeout="0s",
        )
        options: dict[str, Any] = {"@type": f"type.googleapis.com/{_HTTP}"}
        options["explicit_http_config"] = {"http2_protocol_options" if stall.isHTTP2 else "http_protocol_options": {}}
        fields: dict[str, Any] = {**limit, "typed_extension_protocol_options": {_HTTP: options}}
        text = bootstrap({**front, **limit}, cluster("endless", service.port, **fields), cluster("good", good.port))
        proxy = Proxy(kind, text, folder)
        stack.callback(proxy.stop)
        proxy.ready("127.0.0.1", port)
        other = Client(port)
        stack.callback(other.close)
        other.socket.settimeout(_PATIENCE)
        other.get("/")
        before = _memory(proxy.pid, "VmRSS")
        Path(f"/proc/{proxy.pid}/clear_refs").write_text("5")
        for _ in range(rounds):
            service.sent = service.asked = 0
            with socket.create_connection(("127.0.0.1", port)) as attacker:
                _ask(attacker, stall)
                _watch(other, service, stall, held)
                held.read = service.sent
                held.memory.append(_memory(proxy.pid, "VmHWM") - before)
                attacker.shutdown(socket.SHUT_RDWR)
            if held.failures:
                break
            time.sleep(_REST)
            other.get("/")
        held.left = _memory(proxy.pid, "VmRSS") - before
    return held


def _ask(attacker: socket.socket, stall: Stall) -> None:
    head = block(request(path=b"/endless"))
    attacker.sendall(PREFACE + settings((4, stall.window)) + windowUpdate(0, 1 << 30))
    for number in range(stall.streams):
        attacker.sendall(headers(2 * number + 1, head))
    threading.Thread(target=_drain, args=(attacker,), daemon=True).start()


def _watch(other: Client, service: _Endless, stall: Stall, held: Held) -> None:
    """
    Be served, until the service gets rid of nothing any more.
    """
    since = time.monotonic()
    end, last = since + _PATIENCE, 0
    while time.monotonic() < since + _REST or service.asked < stall.streams:
        if time.monotonic() > end:
            held.failures.append(f"no rest: {service.asked} requests and {service.sent} bytes came through")
            return
        began = time.monotonic()
        try:
            response = other.get("/")
        except (OSError, EOFError) as error:
            held.failures.append(repr(error))
            return
        held.longest = max(held.longest, time.monotonic() - began)
        if (response.status, response.body) != (200, b"good"):
            held.failures.append(f"{response}")
        held.served += 1
        time.sleep(0.02)
        if service.sent != last:
            last, since = service.sent, time.monotonic()


def _drain(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while sock.recv(65536):
            pass


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Print what is kept.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.integration.stalls")
    parser.add_argument("--proxy", choices=("meshproxy", "envoy"), default="meshproxy")
    options = parser.parse_args(arguments)
    for stall in (
        Stall(50),
        Stall(50, isHTTP2=True),
        Stall(),
        Stall(window=200000),
        Stall(limit=32768),
        Stall(isHTTP2=True),
    ):
        held = hold(options.proxy, stall)
        kept = " and ".join(f"{each / 1e6:.1f}" for each in held.memory)
        sys.stdout.write(
            f"{stall}: {kept} MB, {held.read / 1e6:.1f} MB read; others {held.served} served, {len(held.failures)} "
            f"failed, longest {held.longest * 1000:.0f} ms; {held.left / 1e6:.1f} MB when the client had left\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
