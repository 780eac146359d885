"""
HTTP/2 over sockets: real clients, h2spec's cases against the whole proxy, and hostile clients.
"""

from __future__ import annotations

import json
import random
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshproxy.testing.pki import Authority
from tests.codec.http2.client import Reading
from tests.codec.http2.frames import (
    PREFACE,
    data,
    framesIn,
    headers,
    request,
    settings,
    windowUpdate,
)
from tests.codec.http2.h2spec import CASES
from tests.codec.http2.h2specwords import Case, Frame, Wait, isAnswered
from tests.integration.configs import address, bootstrap, cluster, direct, forward, listener
from tests.integration.peers import Backend, answer, readHead
from tests.integration.process import Proxy, fetch, freePort, until
from tests.integration.test_hostile import HostileCase

_BODY = random.Random(2).randbytes(3 << 20)


def _large(connection: socket.socket) -> None:
    while readHead(connection):
        connection.sendall(answer(_BODY))


def _count(connection: socket.socket) -> None:
    """
    Answer with how many bytes the body had, when it is there: curl takes an early response for a failure of its own.
    """
    while head := readHead(connection):
        left = size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while left and (piece := connection.recv(min(left, 65536))):
            left -= len(piece)
        connection.sendall(answer(str(size - left).encode()))


class Conversation:
    """
    A client's side of a connection, frame by frame.
    """

    def __init__(self, port: int, receiveBuffer: int = 0, context: ssl.SSLContext | None = None) -> None:
        """
        @param context: For a connection over TLS.
        """
        self.socket = socket.socket()
        if receiveBuffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receiveBuffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", port))
        if context is not None:
            self.socket = secure = context.wrap_socket(self.socket)
            assert secure.selected_alpn_protocol() == "h2"
        self.isClosed = False
        self._partial = b""

    def send(self, wire: bytes) -> None:
        """
        Send, unless the proxy closed.
        """
        try:
            self.socket.sendall(wire)
        except OSError:
            self.isClosed = True

    def frames(self, seconds: float) -> list[Frame]:
        """
        The frames that came by now, or within some seconds where none did.
        """
        try:
            self.socket.settimeout(seconds)
            came = self.socket.recv(1 << 20)
        except TimeoutError:
            return []
        except OSError:
            came = b""
        if not came:
            self.isClosed = True
            return []
        came = self._partial + came
        whole = 0
        while len(came) - whole >= 9:
            stop = whole + 9 + int.from_bytes(came[whole : whole + 3], "big")
            if stop > len(came):
                break
            whole = stop
        self._partial = came[whole:]
        return framesIn(came[:whole])

    def until(self, done: Callable[[list[Frame]], bool], seconds: float = 30.0) -> list[Frame]:
        """
        The frames that came until something is there, or the connection ended.
        """
        found: list[Frame] = []
        end = time.monotonic() + seconds
        while not done(found) and not self.isClosed and time.monotonic() < end:
            found += self.frames(0.2)
        return found


_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."


def _secure(case: SynchronousTestCase) -> dict[str, Any]:
    """
    What makes a listener speak TLS, with a certificate in files.
    """
    folder = Path(case.mktemp()).absolute()
    folder.mkdir()
    credential = Authority().issue("localhost", "127.0.0.1")
    (folder / "cert.pem").write_text(credential.chain)
    (folder / "key.pem").write_text(credential.keyText)
    pair = {
        "certificate_chain": {"filename": str(folder / "cert.pem")},
        "private_key": {"filename": str(folder / "key.pem")},
    }
    return {
        "@type": f"{_TLS}DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [pair], "alpn_protocols": ["h2", "http/1.1"]},
    }


class H2SpecTests(SynchronousTestCase):
    """
    The proxy passes the cases that its codec passes.
    """

    def passes(self, case: Case, port: int, context: ssl.SSLContext | None = None) -> bool:
        """
        Go through a case.
        """
        conversation = Conversation(port, context=context)
        try:
            came: list[Frame] = []
            if case.handshake:
                conversation.send(PREFACE + settings())
                conversation.until(lambda frames: any(frame[0] == 4 and frame[1] for frame in frames))
                conversation.send(settings(ack=True))
            # What is not waited for between goes in one piece: else a response may overtake the rest of its request.
            steps: list[bytes | Wait] = []
            for step in case.steps:
                if isinstance(step, bytes) and steps and isinstance(steps[-1], bytes):
                    steps[-1] += step
                else:
                    steps.append(step)
            for step in steps:
                if isinstance(step, Wait):
                    what = step.what
                    came += conversation.until(lambda frames: any(map(what, frames)))  # noqa: B023  # called at once
                    if not any(map(what, came)):
                        return False
                    came = []
                else:
                    conversation.send(step)
            came += conversation.until(lambda frames: isAnswered(case, [*came, *frames], False))
            return isAnswered(case, came, conversation.isClosed)
        finally:
            conversation.socket.close()

    def test_cases(self) -> None:
        """
        Each of them, through sockets, a connection manager and its streams.
        """
        port = freePort()
        Proxy(self, "--config-yaml", bootstrap(listener("front", port, direct("Hello world!")))).ready(port)
        failed = [f"{case.name} {case.description}" for case in CASES if not self.passes(case, port)]
        self.assertEqual(failed, [])

    def test_casesTLS(self) -> None:
        """
        And over TLS, where ALPN agreed upon C{h2}.
        """
        port = freePort()
        made = listener("front", port, direct("Hello world!"))
        made["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": _secure(self)}
        Proxy(self, "--config-yaml", bootstrap(made)).ready(port)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        failed = [f"{case.name} {case.description}" for case in CASES if not self.passes(case, port, context)]
        self.assertEqual(failed, [])


class ClientTests(SynchronousTestCase):
    """
    Programs that speak HTTP/2.
    """

    def setUp(self) -> None:
        self.large = Backend(serve=_large)
        self.small = Backend(b"small")
        self.counting = Backend(serve=_count)
        for backend in (self.large, self.small, self.counting):
            self.addCleanup(backend.close)
        self.port, self.securePort = freePort(), freePort()
        routes = (
            direct("hello", "/direct"),
            forward("large", "/large"),
            forward("counting", "/count"),
            forward("small"),
        )
        credential = Authority().issue("localhost", "127.0.0.1")
        pair = {
            "certificate_chain": {"inline_string": credential.chain},
            "private_key": {"inline_string": credential.keyText},
        }
        secure = listener("secure", self.securePort, *routes)
        config = {
            "@type": f"{_TLS}DownstreamTlsContext",
            "common_tls_context": {"tls_certificates": [pair], "alpn_protocols": ["h2", "http/1.1"]},
        }
        secure["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": config}
        text = bootstrap(
            listener("front", self.port, *routes),
            secure,
            cluster("large", self.large.port),
            cluster("counting", self.counting.port),
            cluster("small", self.small.port),
        )
        self.proxy = Proxy(self, "--config-yaml", text).ready(self.port, self.securePort)

    def run_(self, *command: str) -> bytes:
        """
        What a program writes.
        """
        if shutil.which(command[0]) is None:
            raise SkipTest(f"{command[0]} is not installed")
        return subprocess.run(command, capture_output=True, timeout=60, check=False).stdout

    def test_curl(self) -> None:
        """
        curl, in each version of HTTP, in the clear and over TLS: a small response, a large one and a small one on one
        connection, and a large body. An offer to upgrade to HTTP/2 in the clear is not taken.
        """
        clear, secure = f"http://127.0.0.1:{self.port}", f"https://127.0.0.1:{self.securePort}"
        asked = (
            (clear, "--http2-prior-knowledge", b"2"),
            (clear, "--http2", b"1.1"),
            (clear, "--http1.1", b"1.1"),
            (secure, "--http2", b"2"),
            (secure, "--http1.1", b"1.1"),
        )
        for url, option, version in asked:
            base = ("curl", "-sk", option, "-w", "%{http_version} %{http_code} %{num_connects} ")
            paths = [f"{url}{path}" for path in ("/direct", "/large", "/small")]
            shown = b"%b 200 " % version
            if option == "--http2-prior-knowledge":
                # curl 7.88 cannot use such a connection a second time.
                output = b"".join(self.run_(*base, path) for path in paths)
                self.assertEqual(output, b"hello%b1 " % shown + _BODY + b"%b1 small%b1 " % (shown, shown))
            else:
                output = self.run_(*base, *paths)
                self.assertEqual(output, b"hello%b1 " % shown + _BODY + b"%b0 small%b0 " % (shown, shown))
            # curl would ask before it sends much, where it could upgrade.
            output = self.run_(*base, "-H", "expect:", "--data-binary", "x" * 100000, f"{url}/count")
            self.assertEqual(output, b"100000%b1 " % shown)

    def test_h2load(self) -> None:
        """
        h2load, in the clear and over TLS: many streams on many connections; none fails.
        """
        for url in (f"http://127.0.0.1:{self.port}/small", f"https://127.0.0.1:{self.securePort}/small"):
            output = self.run_("h2load", "-n", "2000", "-c", "8", "-m", "50", url)
            self.assertIn(b"2000 succeeded, 0 failed, 0 errored, 0 timeout", output)
            self.assertIn(b"2000 2xx, 0 3xx, 0 4xx, 0 5xx", output)

    def test_nghttp(self) -> None:
        """
        nghttp, which speaks of priorities, upgrades where it is told to, pads its frames, and has small windows.
        """
        clear, secure = f"http://127.0.0.1:{self.port}", f"https://127.0.0.1:{self.securePort}"
        for url in (clear, secure):
            self.assertEqual(self.run_("nghttp", "-y", f"{url}/direct", f"{url}/small"), b"hellosmall")
            self.assertEqual(self.run_("nghttp", "-w", "16", "-W", "17", "-b", "64", f"{url}/large"), _BODY)
        body = Path(self.mktemp())
        body.write_bytes(b"x" * 100000)
        sent = ("--data", str(body), "--trailer", "x-sum: 7")
        self.assertEqual(self.run_("nghttp", *sent, f"{clear}/count"), b"100000")

    def test_unequalReaders(self) -> None:
        """
        A thousand streams on one connection, some of whose bodies are read at once, some late, some never: each
        that is read arrives whole, and the proxy keeps little of the others.
        """
        self.unequal(self.port)

    def test_unequalReadersUpstream(self) -> None:
        """
        The same where all of them share one connection to an upstream that speaks HTTP/2.
        """
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        protocol = {
            "@type": f"type.googleapis.com/{options}",
            # What those that do not read hold of the connection's window has to leave something of it to the others.
            "explicit_http_config": {"http2_protocol_options": {"initial_stream_window_size": 1 << 20}},
        }
        far = cluster("far", self.port, typed_extension_protocol_options={options: protocol})
        port, admin = freePort(), freePort()
        text = bootstrap(listener("near", port, forward("far", timeout="0s")), far, admin={"address": address(admin)})
        self.proxy = Proxy(self, "--config-yaml", text).ready(port, admin)
        self.unequal(port)
        stats = json.loads(fetch(admin, "/stats?format=json&filter=^cluster.far.upstream_(cx|rq)_total$")[1])["stats"]
        self.assertEqual(sorted(each["value"] for each in stats), [1, 1000])

    def unequal(self, port: int) -> None:
        """
        Ask for all of them.
        """
        memory = self.proxy.memory()
        conversation = Conversation(port)
        reading = Reading(credits=False)
        conversation.send(PREFACE + settings((4, 1000)) + windowUpdate(0, 1 << 30))
        streams = [2 * number + 1 for number in range(1000)]
        for start in range(0, 1000, 100):
            conversation.send(
                b"".join(
                    headers(streamId, request(path=b"/large" if streamId % 100 == 1 else b"/direct"))
                    for streamId in streams[start : start + 100]
                )
            )

        def read(done: Callable[[], bool]) -> None:
            end = time.monotonic() + 30
            while not done() and time.monotonic() < end:
                for kind, flags, streamId, payload in conversation.frames(0.2):
                    reading._frame(kind, flags, streamId, payload)
                    if kind == 0 and streamId in eager:
                        eager[streamId] += len(payload)
                        if not flags & 1:
                            conversation.send(windowUpdate(streamId, len(payload)))

        # One eager reader of a large body among all the rest.
        eager = {streams[0]: 0}
        conversation.send(windowUpdate(streams[0], 1 << 20))
        small = [streamId for streamId in streams if streamId % 100 != 1]
        read(lambda: reading.of(streams[0]).ended and all(reading.of(streamId).ended for streamId in small))
        self.assertEqual(reading.of(streams[0]).body, _BODY)
        self.assertEqual({reading.of(streamId).body for streamId in small}, {b"hello"})
        late = streams[50]
        self.assertEqual(len(reading.of(late).body), 1000)
        conversation.send(windowUpdate(late, len(_BODY)))
        read(lambda: reading.of(late).ended)
        self.assertEqual(reading.of(late).body, _BODY)
        self.assertLess(self.proxy.memory() - memory, 64 << 20)
        conversation.socket.close()
        until(lambda: self.proxy.descriptors() < 60, "the connections to be gone")


_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class ALPNTests(SynchronousTestCase):
    """
    HTTP/2 over TLS, on both sides.
    """

    def test_chain(self) -> None:
        """
        A client, a cluster with C{auto_config} and one that asks for HTTP/2 each speak what ALPN agreed upon; so
        does a client that wants HTTP/1.1.
        """
        if shutil.which("curl") is None:
            raise SkipTest("curl is not installed")
        downstream = _secure(self)
        ports = [freePort() for _ in range(3)]
        routes = [forward("auto"), forward("http2"), direct("reached")]
        listeners = [listener(f"l{n}", port, route) for n, (port, route) in enumerate(zip(ports, routes, strict=True))]
        for made in listeners:
            made["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": downstream}
        clusters = [cluster("auto", ports[1]), cluster("http2", ports[2])]
        chosen: list[dict[str, Any]] = [
            {"auto_config": {}},
            {"explicit_http_config": {"http2_protocol_options": {}}},
        ]
        for made, options in zip(clusters, chosen, strict=True):
            made["transport_socket"] = {"name": "tls", "typed_config": {"@type": f"{_TLS}UpstreamTlsContext"}}
            typed = {"@type": f"type.googleapis.com/{_OPTIONS}", **options}
            made["typed_extension_protocol_options"] = {_OPTIONS: typed}
        Proxy(self, "--config-yaml", bootstrap(*listeners, *clusters)).ready(*ports)
        for version, shown in (("--http2", b"2"), ("--http1.1", b"1.1")):
            command = ["curl", "-sk", version, "-w", " %{http_version} %{http_code}", f"https://127.0.0.1:{ports[0]}/"]
            done = subprocess.run(command, capture_output=True, timeout=30, check=False)
            self.assertEqual(done.stdout, b"reached " + shown + b" 200")


class HostileHTTP2Tests(HostileCase):
    """
    Clients that say nothing whole in HTTP/2; those that do are in L{tests.integration.test_attacks}.
    """

    def attackWith(self, wire: Callable[[int], bytes], connections: int = 4, reads: bool = False) -> None:
        """
        Connections that each send something, and read no answer unless C{reads} is true.
        """
        for number in range(connections):
            sock = self.connect(receiveBuffer=0 if reads else 4096)
            sock.settimeout(60)
            try:
                sock.sendall(PREFACE + settings())
                sock.sendall(wire(number))
                if reads:
                    while sock.recv(65536):
                        pass
            except OSError:
                pass  # put off: well done

    def test_slow(self) -> None:
        """
        Connections that stop anywhere, and vanish.
        """
        wire = PREFACE + settings() + headers(1, request(method=b"POST", path=b"/swallowing"), False) + data(1, b"x")

        def attack() -> None:
            for cut in range(0, len(wire), 2):
                sock: Any = self.connect()
                sock.sendall(wire[:cut])
                if cut % 4:
                    sock.close()

        before = self.proxy.descriptors()
        self.under(attack, 2.0)
        for sock in self.opened:
            sock.close()
        until(lambda: self.proxy.descriptors() <= before + 10, "the slow ones to be gone")

    def test_noise(self) -> None:
        """
        Noise behind a good beginning.
        """
        noise = random.Random(1)
        wires = [noise.randbytes(20000) for _ in range(40)]
        self.under(lambda: self.attackWith(wires.__getitem__, len(wires)), 3.0)
