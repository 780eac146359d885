"""
What one exchange costs in Python alone: the work of the cases C{http1}, C{full} and C{mesh}, of C{http2} and
C{http2-full}, of C{grpc} and C{grpc-full}, on sockets that cost nothing, so that a change of a tenth of a microsecond
shows on a machine that others use too.

C{python -m bench.exchange} prints the CPU time of an exchange. With C{--against CHECKOUT} it compares this checkout
with another one, round for round in turn, and prints the median of the ratios; with C{--python FILE} it compares the
Python that runs it with another one, which has to have what is installed here. C{--profile} shows where the time goes,
C{--opcodes} how many instructions of Python each function takes: a number without any noise.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from pathlib import Path
from statistics import median
from string import Template
from types import CodeType, FrameType
from typing import Any

from bench.load import CALL_FIELDS, MESSAGE, VARIED_FIELDS, variedPaths

__all__ = ["ANSWER", "BACKEND", "PLAIN", "PORT", "Exchanges", "MemorySocket", "frame", "main", "variedRequests"]

_CONFIGS = Path(__file__).resolve().parent / "configs"
PORT = 21999
BACKEND = 21998

_CASES = ["http1", "full", "mesh", "http2", "http2-full", "grpc", "grpc-full"]

# How many streams of an HTTP/2 connection ask at once.
_STREAMS = 4

_BODY = b"x" * 200

#: What a backend of HTTP/2 begins with: a window for all streams as wide as nginx's.
_SETTINGS = b"\0\0\0\4\0\0\0\0\0\0\0\4\x08\0\0\0\0\0\x7f\xff\0\0"

# How long the backend takes, in milliseconds on average. As of one under load, it is often less and at times much more,
# and `x-envoy-upstream-service-time` tells of it.
_LATENCY = 5

#: As wrk asks in the case C{http1}, and as the backend answers.
PLAIN = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:21999\r\n\r\n"
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Thu, 26 Nov 2026 15:47:20 GMT\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Length: 200\r\nConnection: keep-alive\r\n\r\n" + _BODY
)


def variedRequests(count: int = 2000) -> list[bytes]:
    """
    The requests of C{configs/load.lua}, but for the numbers that are random there too.
    """
    draw = random.Random(7)
    return [_varied(number, draw) for number in range(1, count + 1)]


def _varied(number: int, draw: random.Random) -> bytes:
    session = "".join(f"{draw.getrandbits(30):08x}" for _ in range(2))
    path = f"/service/{number % 10}/items/{draw.randint(1, 100000)}?page={number % 50}&q={draw.getrandbits(30):x}"
    fields = [
        f"Host: shop-{number % 20}.example.com",
        f"X-Correlation: {draw.getrandbits(30):08x}-{number:04x}",
        f"Cookie: session={session}; theme=dark; visit={number}",
        "Accept-Encoding: gzip, deflate, br",
        f"X-Tenant: t{number % 100}",
        "Accept: application/json, text/plain, */*",
        "X-Internal: drop-me",
        "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
        f"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.{number % 8}",
        *(["X-Canary: yes"] if number % 5 == 0 else []),
    ]
    return "\r\n".join([f"GET {path} HTTP/1.1", *fields, "", ""]).encode("ascii")


def _firstOfEach(requests: list[bytes]) -> list[bytes]:
    """
    Of the requests in the case C{mesh}, one to each cluster that a request can go to.
    """
    wanted = [b"shop-1.", b"shop-6.", b"shop-11.", b"shop-10."]
    # Every fifth request is a canary's; of those to shop-10 all are.
    return [next(each for each in requests if host in each) for host in wanted]


def _string(text: str) -> bytes:
    """
    A string of HPACK, as nghttp2 writes it.
    """
    from meshproxy.codec.http2.huffman import huffmanEncode

    coded = huffmanEncode(text.encode())
    return bytes((0x80 | len(coded),)) + coded


def _sections() -> list[tuple[bytes, bytes]]:
    """
    The HPACK sections of the requests of h2load in the case C{http2-full}: the first one of a connection, and the same
    as one of its later ones.

    As in nghttp2, a path is always a literal, and all else is in the dynamic table from the second request on.
    """
    fields = [field.split(": ", 1) for field in VARIED_FIELDS]
    # :scheme http and :method GET are in the static table; :authority is indexed as the first of what is not.
    literals = [b"\x41" + _string("127.0.0.1:21999")]
    literals += [b"\x40" + _string(name) + _string(value) for name, value in fields]
    newest = 62
    indexed = bytes(0x80 | newest + len(literals) - 1 - number for number in range(len(literals)))
    sections = []
    for path in variedPaths():
        head = b"\x04" + _string(path) + b"\x86"
        sections.append(
            (head + literals[0] + b"\x82" + b"".join(literals[1:]), head + indexed[:1] + b"\x82" + indexed[1:])
        )
    return sections


def _callSection() -> tuple[bytes, bytes]:
    """
    The same of the calls of h2load in the case C{grpc}. Of a length, too, nghttp2 always makes a literal.
    """
    fields = [field.split(": ", 1) for field in CALL_FIELDS]
    literals = [b"\x41" + _string("127.0.0.1:21999")]
    literals += [b"\x40" + _string(name) + _string(value) for name, value in fields]
    indexed = bytes(0x80 | 62 + len(literals) - 1 - number for number in range(len(literals)))
    head = b"\x04" + _string("/bench.Service/Method") + b"\x86"
    length = b"\x0f\x0d" + _string(str(len(MESSAGE)))
    return (
        head + literals[0] + b"\x83" + b"".join(literals[1:]) + length,
        head + indexed[:1] + b"\x83" + indexed[1:] + length,
    )


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """
    A frame of HTTP/2.
    """
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _callAnswer() -> tuple[bytes, bytes]:
    """
    The sections that nginx answers a call with: it puts the fields of the head into the table each time anew.
    """
    date, content = _string("Thu, 26 Nov 2026 15:47:20 GMT"), _string("application/grpc")
    head = b"\x88\x76" + _string("nginx/1.22.1") + b"\x61" + date + b"\x5f" + content + b"\x5c\x03205\x6c" + date
    return head, b"\x00" + _string("grpc-status") + b"\x010"


class _HTTP2Client:
    """
    What one connection of h2load sends.
    """

    _SAME = (b"\x82\x86\x84\x41\x0f127.0.0.1:21999", b"\x82\x86\x84\xbe")

    def __init__(self, case: str, number: int) -> None:
        self._calls = case.startswith("grpc")
        self._sections = _sections() if case == "http2-full" else [_callSection() if self._calls else self._SAME]
        self._next = number * 7 % len(self._sections)
        self._stream = 1

    def first(self) -> bytes:
        """
        What comes before all requests: windows as wide as h2load's.
        """
        settings = b"\0\4" + (2**30 - 1).to_bytes(4, "big")
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\6\4\0\0\0\0\0" + settings
        return preface + b"\0\0\4\x08\0\0\0\0\0" + (2**30).to_bytes(4, "big")

    def requests(self, count: int) -> bytes:
        """
        The frames of some more requests.
        """
        frames = []
        first = self._stream
        for _ in range(count):
            section = self._sections[self._next][self._stream > 1]
            self._next = (self._next + 1) % len(self._sections)
            frames.append(frame(1, 4 if self._calls else 5, self._stream, section))
            self._stream += 2
        if self._calls:
            # As h2load does, all heads before all messages.
            frames += [frame(0, 1, number, MESSAGE) for number in range(first, self._stream, 2)]
        return b"".join(frames)


class _CallServer:
    """
    What stands behind the case C{grpc}: it answers the streams in the order in which they come.
    """

    def __init__(self) -> None:
        self._stream = 1
        self._head, self._trailers = _callAnswer()
        self._rest = b""

    def answers(self, asked: bytes) -> bytes:
        """
        The frames that answer what is in some bytes. As of nginx, a stream that is answered before its message was
        looked at is reset, too; and since nginx writes the head of an answer by itself, every other read of the proxy
        ends behind one, which is about every sixtieth answer: here it is the last one, whose rest comes with the next.
        """
        frames = [self._rest]
        for _ in range(asked.count(MESSAGE)):
            stream = self._stream
            frames += [frame(1, 4, stream, self._head), frame(0, 0, stream, MESSAGE)]
            frames[-1] += frame(1, 5, stream, self._trailers) + frame(3, 0, stream, b"\0\0\0\0")
            self._stream += 2
        self._rest = frames.pop()
        return b"".join(frames)


class MemorySocket:
    """
    A socket that costs nothing.

    @ivar inbox: What the next C{recv} gives.
    @ivar sent: Called with what is sent.
    """

    def __init__(self, sent: Callable[[MemorySocket, bytes], object]) -> None:
        self.inbox = b""
        self._sent = sent

    def recv(self, size: int, flags: int = 0) -> bytes:
        """
        Give what is there. Who only looks is told that there is nothing.
        """
        if flags:
            raise BlockingIOError
        return self.inbox

    def send(self, data: bytes) -> int:
        """
        Take everything.
        """
        self._sent(self, data)
        return len(data)


class Exchanges:
    """
    A proxy with connections, in memory.

    @ivar requests: What the clients send, in turn.
    @ivar answered: How many answers they have had.
    @ivar answer: The last one.
    @ivar asked: What the backend was asked last.
    """

    def __init__(self, case: str, folder: Path, connections: int = 64) -> None:
        """
        @param case: C{http1}, C{full}, C{mesh}, C{http2}, C{http2-full}, C{grpc} or C{grpc-full}.
        @param connections: How many requests make one turn of the reactor: each from a client of its own or, of HTTP/2,
            four from each.
        """
        from meshproxy.server import ProxyOptions, ProxyServer
        from meshproxy.testing import MemoryNetwork, Peer, VirtualReactor
        from meshproxy.testing.network import parseAddress

        reactor: Any = VirtualReactor()
        # Time passes as in service, also where the machine is busy or instructions are counted. Asking for it costs
        # what it costs there: a call of a function in C.
        self._now = [time.time()]
        reactor.seconds = partial(self._now.__getitem__, 0)
        self._draw = random.Random(7)
        network = MemoryNetwork(reactor)
        transports: list[Any] = []
        transport = network.transport
        network.transport = lambda *args: transports.append(transport(*args)) or transports[-1]  # type: ignore[method-assign, func-returns-value]
        name = case.removeprefix("http2-") if case != "http2" else case
        text = Template((_CONFIGS / f"{name}.yaml").read_text())
        config = text.substitute(listen=PORT, backend=BACKEND, log=folder / "access.log", transport="")
        self._server = ProxyServer(ProxyOptions(configText=config), reactor, network)
        self._server.privilegedStartService()
        self._server.startService()
        network.listen(parseAddress(f"127.0.0.1:{BACKEND}"), lambda peer: Peer())
        self.requests = variedRequests() if case in ("full", "mesh") else [PLAIN]
        self._position = 0
        self.answered = 0
        self.answer = self.asked = b""
        self._waiting: list[Any] = []
        self._downstreams: list[Any] = []
        self._clients: list[_HTTP2Client] = []
        self._service = _CallServer() if case.startswith("grpc") else None
        self._content = _BODY if self._service is None else MESSAGE
        if case.startswith("http2") or self._service is not None:
            self._clients = [_HTTP2Client(case, n) for n in range(connections // _STREAMS)]
        for _ in self._clients or range(connections):
            network.dial(parseAddress(f"127.0.0.1:{PORT}"), Peer())
            self._downstreams.append(transports[-1])
        self._upstreams: dict[MemorySocket, Any] = {}
        # The first request of each makes its upstream connection, to each of the clusters.
        for request in _firstOfEach(self.requests) if case == "mesh" else self.requests[:1]:
            before = len(transports)
            for downstream, client in zip_longest(self._downstreams, self._clients):
                first = request if client is None else client.first() + client.requests(_STREAMS)
                downstream.protocol.dataReceived(first)
            # Calls share one connection to the backend.
            while len(transports) < before + (2 * connections if self._service is None else 2):
                reactor._turn()
            # Of two transports made for an upstream connection, the second one is the backend's.
            made = [each for each in transports[before:] if type(each.protocol) is not Peer]
            for each in made:
                each.socket = MemorySocket(self._asked)
                self._upstreams[each.socket] = each
            for downstream in self._downstreams:
                downstream.socket = MemorySocket(self._answered)
            for each in made:
                each.socket.inbox = (
                    ANSWER if self._service is None else _SETTINGS + self._service.answers(MESSAGE * connections)
                )
                each.doRead()

    def _asked(self, sock: MemorySocket, data: bytes) -> None:
        upstream = self._upstreams[sock]
        if self._service is None:
            self._waiting.append(upstream)
        elif answers := self._service.answers(data):
            sock.inbox = answers
            self._waiting.append(upstream)
        self.asked = data

    def _answered(self, sock: MemorySocket, data: bytes) -> None:
        # The settings of HTTP/2 are none.
        self.answered += data.count(self._content)
        self.answer = data

    def turn(self) -> None:
        """
        Let each client ask and get its answer, in two turns of the reactor.
        """
        from meshproxy.net.turn import turn

        requests, position = self.requests, self._position
        for client, downstream in zip(self._clients, self._downstreams, strict=False):
            downstream.socket.inbox = client.requests(_STREAMS)
        turn.active = True
        for downstream in self._downstreams:
            if not self._clients:
                downstream.socket.inbox = requests[position]
                position = (position + 1) % len(requests)
            downstream.doRead()
        turn.end()
        self._position = position
        self._now[0] += self._draw.expovariate(1 / _LATENCY) / 1000
        waiting, self._waiting = self._waiting, []
        turn.active = True
        for upstream in waiting:
            upstream.doRead()
        turn.end()

    def run(self, count: int) -> float:
        """
        Make at least so many exchanges.

        @return: The microseconds of CPU that each of them took.
        """
        first = self.answered
        began = time.process_time()
        while self.answered < first + count:
            self.turn()
        return (time.process_time() - began) / (self.answered - first) * 1e6

    def stop(self) -> None:
        """
        Write what is left of the log.
        """
        self._server.files.close()


def _serve(case: str) -> None:
    """
    Measure whenever a line with a number comes in.
    """
    with tempfile.TemporaryDirectory() as folder:
        exchanges = Exchanges(case, Path(folder))
        gc.collect()
        gc.freeze()
        exchanges.run(2000)
        for line in sys.stdin:
            print(exchanges.run(int(line)), flush=True)
        exchanges.stop()


class _Worker:
    """
    A process that measures one checkout on one Python.
    """

    def __init__(self, python: str, checkout: Path, case: str) -> None:
        # This file is also for checkouts that do not have it yet.
        start = (
            f"import sys, runpy; sys.path.insert(0, {str(checkout)!r}); "
            f"sys.argv[1:] = ['--serve', '--only', {case!r}]; "
            f"runpy.run_path({__file__!r}, run_name='__main__')"
        )
        self._popen = subprocess.Popen(
            [python, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=checkout
        )

    def measure(self, count: int) -> float:
        """
        The microseconds of CPU of an exchange.
        """
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.write(f"{count}\n")
        self._popen.stdin.flush()
        return float(self._popen.stdout.readline())

    def stop(self) -> None:
        """
        End it.
        """
        self._popen.communicate()


def _compare(case: str, contestants: list[tuple[str, Path]], rounds: int, count: int) -> None:
    workers = [_Worker(python, checkout, case) for python, checkout in contestants]
    costs: list[list[float]] = [[] for _ in workers]
    for _ in range(rounds):
        for cost, worker in zip(costs, workers, strict=True):
            cost.append(worker.measure(count))
    for worker in workers:
        worker.stop()
    for (python, checkout), cost in zip(contestants, costs, strict=True):
        ratio = median(mine / first for mine, first in zip(cost, costs[0], strict=True))
        figures = f"{min(cost):6.2f} us at least, {median(cost):6.2f} us usually, ratio {ratio:.3f}"
        print(f"{case:<6} {figures}  {checkout}  {python}")


def _profile(case: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        exchanges = Exchanges(case, Path(folder))
        exchanges.run(2000)
        profile = cProfile.Profile()
        profile.enable()
        exchanges.run(count)
        profile.disable()
        exchanges.stop()
    pstats.Stats(profile).sort_stats("tottime").print_stats(45)


def _countOpcodes(case: str, count: int, shown: int = 50) -> None:
    opcodes: Counter[CodeType] = Counter()
    calls: Counter[CodeType] = Counter()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if event == "call":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            calls[frame.f_code] += 1
        elif event == "opcode":
            opcodes[frame.f_code] += 1
        return trace

    with tempfile.TemporaryDirectory() as folder:
        exchanges = Exchanges(case, Path(folder))
        exchanges.run(2000)
        before = exchanges.answered
        sys.settrace(trace)
        exchanges.run(count)
        sys.settrace(None)
        count = exchanges.answered - before
        exchanges.stop()
    print(f"{case}: {opcodes.total() / count:.0f} opcodes and {calls.total() / count:.0f} calls in an exchange")
    for code, number in opcodes.most_common(shown):
        where = "/".join(Path(code.co_filename).parts[-3:])
        print(f"{number / count:8.1f} {calls[code] / count:6.2f}  {where}:{code.co_firstlineno} {code.co_name}")


def main() -> None:
    """
    Measure, compare or profile.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.exchange", description="the CPU of one exchange in memory")
    parser.add_argument("--only", choices=_CASES, help="one of the cases")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="compare with this one")
    parser.add_argument("--python", action="append", default=[], metavar="FILE", help="compare with this Python, too")
    parser.add_argument("--rounds", type=int, default=40, help="how often each is measured (40)")
    parser.add_argument("--count", type=int, default=1600, help="exchanges in a round (1600)")
    parser.add_argument("--profile", action="store_true", help="show which functions take the time")
    parser.add_argument("--opcodes", action="store_true", help="count the instructions of Python in each function")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    here = Path(__file__).resolve().parent.parent
    for case in [options.only] if options.only else _CASES:
        if options.serve:
            _serve(case)
        elif options.profile:
            _profile(case, 10 * options.count)
        elif options.opcodes:
            _countOpcodes(case, 1000)
        else:
            against = [] if options.against is None else [(sys.executable, options.against.resolve())]
            contestants = [*against, (sys.executable, here), *((python, here) for python in options.python)]
            _compare(case, contestants, options.rounds, options.count)


if __name__ == "__main__":
    main()
