"""
A proxy under attack, over sockets: attackers, others who want to be served meanwhile, and what it costs.

C{python -m tests.integration.siege} prints the figures of this proxy and, with C{--proxy envoy}, those of Envoy.
"""

from __future__ import annotations

import argparse
import atexit
import http.client
import json
import os
import select
import shutil
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from meshproxy.testing.pki import Authority
from tests.codec.http2.client import Reading
from tests.codec.http2.frames import PREFACE, headers, request, settings
from tests.conformance.proxies import Proxy
from tests.integration.attacks import ATTACKS, Attack
from tests.integration.configs import Message, bootstrap, cluster, direct, forward, listener
from tests.integration.peers import Backend, Client, answer, readHead
from tests.ports import freePorts

__all__ = ["Outcome", "Siege", "shared"]

# How long an attacker waits for an end that is due, or for its bytes to be taken.
_PATIENCE = 60.0

# How long one that reads nothing waits for being put off, before it looks.
_UNWELCOME = 10.0

# The socket of a client that does not read is soon full, so that few bytes do for what takes megabytes otherwise.
_SEND_BUFFER = {"level": "1", "name": "7", "int_value": "16384", "state": "STATE_LISTENING"}

_BODY = b"v" * 64
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."


def _swallow(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def _large(connection: socket.socket) -> None:
    while readHead(connection):
        connection.sendall(answer(bytes(100000)))


@dataclass
class Outcome:
    """
    What was seen of an attack.

    @ivar ended: How many of the attackers' connections the proxy ended.
    @ivar codes: By which codes of GOAWAY, as far as attackers read them.
    @ivar resets: By which codes their streams were reset.
    @ivar counters: What the stats counted meanwhile, by name.
    @ivar served: How many requests of others were answered.
    @ivar failures: What went wrong with them.
    @ivar longest: How long the slowest of them waited, in seconds.
    @ivar cpu: How many seconds of CPU the proxy used.
    @ivar memory: By how many bytes it grew at the most.
    @ivar isAlive: Whether it is still there.
    """

    ended: int = 0
    codes: set[int] = field(default_factory=set)
    resets: set[int] = field(default_factory=set)
    counters: dict[str, int] = field(default_factory=dict)
    served: int = 0
    failures: list[str] = field(default_factory=list)
    longest: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    isAlive: bool = True


class _Attacker(threading.Thread):
    """
    One connection of an attack.
    """

    def __init__(
        self, port: int, attack: Attack, number: int, size: int, context: ssl.SSLContext | None = None
    ) -> None:
        """
        @param context: For one over TLS.
        """
        super().__init__(daemon=True)
        self.attack = attack
        self.reading = Reading(credits=False)
        self.resets: set[int] = set()
        self.isEnded = False
        self._wire = PREFACE + settings(*attack.settings) + attack.wire(number, size)
        self._socket = socket.socket()
        if not attack.reads:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect(("127.0.0.1", port))
        if context is not None:
            self._socket = context.wrap_socket(self._socket)
        self._socket.setblocking(False)

    def run(self) -> None:
        """
        Attack, until all is sent and what is due has come.
        """
        left = memoryview(self._wire)
        attack = self.attack
        limit = time.monotonic() + _PATIENCE
        readsNow = attack.reads
        ended, ready = select.poll(), select.poll()
        ended.register(self._socket, select.POLLRDHUP)
        while not self.isEnded and time.monotonic() < limit:
            ready.register(self._socket, (select.POLLIN if readsNow else 0) | (select.POLLOUT if left else 0))
            events = sum(event for _, event in ready.poll(50))
            readable = readsNow and events & ~select.POLLOUT
            writable = left and events & ~select.POLLIN
            try:
                if writable:
                    sent = self._socket.send(left[: 1 << 18])
                    left = left[sent:]
                    limit = time.monotonic() + _PATIENCE
                if readable:
                    self._read()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass  # there was no whole record
            except OSError:
                self.isEnded = True
            if not left and not (readable or self.isEnded):
                if attack.leaves and readsNow is attack.reads:
                    break
                if attack.ends and not readsNow:
                    # Its answers must not be read, so that is how it sees whether it is still welcome.
                    ended.poll(_UNWELCOME * 1000)
                isOver = time.monotonic() > limit - _PATIENCE + attack.lingers if attack.resets is None else False
                # A reset that is due comes; what is not to come would have within a while.
                isOver = attack.resets is None and time.monotonic() > limit - _PATIENCE + attack.lingers
                if not attack.ends and (isOver or attack.resets in self._resets()):
                    break
                readsNow = True
        self.resets = self._resets()

    def _resets(self) -> set[int]:
        return {each.resetCode for each in self.reading.exchanges.values() if each.resetCode is not None}

    def _read(self) -> None:
        while True:
            data = self._socket.recv(1 << 18)
            if not data:
                self.isEnded = True
                return
            self.reading.feed(data)
            if not isinstance(self._socket, ssl.SSLSocket) or not self._socket.pending():
                return

    def close(self) -> None:
        """
        Leave.
        """
        self._socket.close()


class _Others(threading.Thread):
    """
    Who wants to be served meanwhile, over HTTP/1.1 and HTTP/2 in turn.
    """

    def __init__(self, port: int, outcome: Outcome) -> None:
        super().__init__(daemon=True)
        self._outcome = outcome
        self._first = Client(port)
        self._second = Client(port)
        self._reading = Reading()
        for client in (self._first, self._second):
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._second.send(PREFACE + settings())
        self._nextId = 1
        self.isOver = threading.Event()

    def run(self) -> None:
        """
        Ask until there is no need to.
        """
        outcome = self._outcome
        try:
            while not self.isOver.is_set():
                for ask in (self._askFirst, self._askSecond):
                    began = time.monotonic()
                    seen = ask()
                    outcome.longest = max(outcome.longest, time.monotonic() - began)
                    outcome.served += 1
                    if seen != (200, _BODY):
                        outcome.failures.append(f"{ask.__name__}: {seen!r}")
                self.isOver.wait(0.002)
        except (OSError, EOFError) as error:
            outcome.failures.append(repr(error))
        finally:
            self._first.close()
            self._second.close()

    def _askFirst(self) -> tuple[int, bytes]:
        response = self._first.get("/others")
        return response.status, response.body

    def _askSecond(self) -> tuple[int, bytes]:
        streamId, self._nextId = self._nextId, self._nextId + 2
        self._second.send(headers(streamId, request(path=b"/others")))
        reading = self._reading
        while not reading.of(streamId).done:
            data = self._second.socket.recv(65536)
            if not data:
                raise EOFError("closed")
            reading.feed(data)
            if reading.answers:
                self._second.send(reading.answers)
                reading.answers = b""
        exchange = reading.exchanges.pop(streamId)
        return exchange.status, exchange.body


class Siege:
    """
    A proxy, the services behind it, and the attacks on it.
    """

    def __init__(self, kind: str = "meshproxy", sendBuffer: bool = True) -> None:
        """
        @param kind: C{"meshproxy"} or C{"envoy"}.
        @param sendBuffer: Whether the proxy's sockets hold little.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="siege-"))
        self._backends = [Backend(_BODY), Backend(serve=_swallow), Backend(serve=_large)]
        self.port, self.securePort, self._adminPort = freePorts(3)
        credential = Authority().issue("localhost")
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._context.set_alpn_protocols(["h2"])
        others, swallowing, large = self._backends
        fronts = [
            listener(
                name,
                port,
                forward("swallowing", "/swallowing"),
                forward("large", "/large"),
                direct("d" * 4000, "/direct"),
                forward("others"),
                stat_prefix="front",
                codec_type="AUTO",
                request_headers_timeout="1s",
                stream_idle_timeout="1.5s",
                delayed_close_timeout="0.3s",
                http2_protocol_options={"allow_connect": True},
            )
            for name, port in (("front", self.port), ("secure", self.securePort))
        ]
        common = {"tls_certificates": [credential.inline], "alpn_protocols": ["h2"]}
        secure = {"@type": f"{_TLS}DownstreamTlsContext", "common_tls_context": common}
        fronts[1]["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": secure}
        for front in fronts if sendBuffer else ():
            front["socket_options"] = [_SEND_BUFFER]
        resources: list[Message] = [
            *fronts,
            cluster("others", others.port),
            cluster("swallowing", swallowing.port),
            cluster("large", large.port),
        ]
        admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self._adminPort}}}
        self._proxy = Proxy(kind, bootstrap(*resources, admin=admin), self._folder)
        self._proxy.ready("127.0.0.1", self.port)
        self._proxy.ready("127.0.0.1", self.securePort)
        self._proxy.ready("127.0.0.1", self._adminPort)

    def close(self) -> None:
        """
        End everything.
        """
        self._proxy.stop()
        for backend in self._backends:
            backend.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def isAlive(self) -> bool:
        """
        Whether the proxy is there.
        """
        return self._proxy.isRunning

    def stats(self) -> dict[str, int]:
        """
        The counters and gauges of the proxy.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._adminPort, timeout=60)
        try:
            connection.request("GET", "/stats?format=json")
            listed = json.loads(connection.getresponse().read())["stats"]
        finally:
            connection.close()
        return {each["name"]: each["value"] for each in listed if "name" in each}

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._proxy.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _memory(self, name: str) -> int:
        for line in Path(f"/proc/{self._proxy.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name} in /proc")

    def under(self, attack: Attack, factor: int = 1, secure: bool = False) -> Outcome:
        """
        Attack once.

        @param factor: How many times longer than usual.
        @param secure: Whether over TLS.
        """
        outcome = Outcome()
        before = self.stats()
        size = attack.size * factor if attack.grows else attack.size
        port, context = (self.securePort, self._context) if secure else (self.port, None)
        attackers = [_Attacker(port, attack, number, size, context) for number in range(attack.connections)]
        others = _Others(self.port, outcome)
        # From now on, the most that was ever resident is forgotten.
        Path(f"/proc/{self._proxy.pid}/clear_refs").write_text("5")
        memory, cpu = self._memory("VmRSS"), self._cpu()
        others.start()
        for attacker in attackers:
            attacker.start()
        for attacker in attackers:
            attacker.join()
        others.isOver.set()
        others.join()
        outcome.cpu = self._cpu() - cpu
        outcome.memory = self._memory("VmHWM") - memory
        for attacker in attackers:
            attacker.close()
            outcome.ended += attacker.isEnded
            outcome.codes |= {code for _, code in attacker.reading.goAways}
            outcome.resets |= attacker.resets
        after = self.stats()
        outcome.counters = {
            name: value - before.get(name, 0)
            for name, value in after.items()
            if isinstance(value, int) and value != before.get(name, 0)
        }
        outcome.isAlive = self.isAlive
        return outcome

    def leftovers(self) -> dict[str, int]:
        """
        What gauges say is still there of the attackers, when all of them left.
        """
        names = ("http2.streams_active", "http2.pending_send_bytes", "http.front.downstream_rq_active")
        # What they sent before may be megabytes of small frames.
        limit = time.monotonic() + 5 * _PATIENCE
        while True:
            stats = self.stats()
            found = {name: stats.get(name, 0) for name in names if stats.get(name, 0)}
            if not found or time.monotonic() > limit:
                return found
            time.sleep(0.02)


_shared: list[Siege] = []


def shared() -> Siege:
    """
    One for all tests of a process; another one where it is gone.
    """
    if not _shared or not _shared[-1].isAlive:
        made = Siege()
        atexit.register(made.close)
        _shared.append(made)
    return _shared[-1]


def _line(attack: Attack, outcome: Outcome, left: dict[str, int]) -> str:
    ended = f"{outcome.ended}/{attack.connections} ended" if outcome.ended else "cheap"
    codes = [f"GOAWAY {code}" for code in sorted(outcome.codes)] + [f"reset {code}" for code in sorted(outcome.resets)]
    counted = {name: value for name, value in outcome.counters.items() if name.startswith("http2.") and value > 0}
    shown = " ".join(f"{name[6:]}={value}" for name, value in counted.items() if "nghttp2" not in name)
    if attack.counter and not attack.counter.startswith("http2."):
        shown += f" {attack.counter.rpartition('.')[2]}={outcome.counters.get(attack.counter, 0)}"
    return (
        f"{attack.name:20} {', '.join([ended, *codes]):28} others {outcome.served:5} served, "
        f"{len(outcome.failures)} failed, longest {outcome.longest * 1000:4.0f} ms; {outcome.cpu:5.2f} s CPU, "
        f"{outcome.memory / 1e6:+6.1f} MB; {shown}{f' LEFT {left}' if left else ''}\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Print what each attack costs.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.integration.siege")
    parser.add_argument("--proxy", choices=("meshproxy", "envoy"), default="meshproxy")
    parser.add_argument("--factor", type=int, default=1, help="how many times longer than in the tests (1)")
    parser.add_argument("--tls", action="store_true", help="over TLS")
    parser.add_argument("--only", default="", help="attacks whose names contain this")
    options = parser.parse_args(arguments)
    siege = Siege(options.proxy)
    try:
        for attack in ATTACKS:
            if options.only not in attack.name:
                continue
            outcome = siege.under(attack, options.factor, options.tls)
            sys.stdout.write(_line(attack, outcome, siege.leftovers()))
            sys.stdout.flush()
    finally:
        siege.close()


if __name__ == "__main__":
    main(sys.argv[1:])
