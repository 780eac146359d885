"""
What each case does to a proxy, and what one unit of it is.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.process import Failed, Process

__all__ = ["CALL_FIELDS", "CASES", "MESSAGE", "VARIED_FIELDS", "Case", "Idle", "Load", "Sample", "variedPaths"]

#: A message of gRPC in its frame, as both ends send it.
MESSAGE = b"\0" + (200).to_bytes(4, "big") + b"m" * 200

_SCRIPT = Path(__file__).parent / "configs" / "load.lua"


@dataclass(frozen=True)
class Sample:
    """
    One measurement.

    @ivar cost: What a unit cost: microseconds or seconds of CPU, or bytes.
    @ivar rate: Units a second, of the wall clock, while the proxy had one core.
    """

    cost: float
    rate: float


@dataclass(frozen=True)
class _Done:
    """
    What a generator of load got done.
    """

    requests: float
    bytes: float
    seconds: float
    errors: float


def _fromJSON(text: str) -> _Done:
    """
    Read the line that C{configs/load.lua} and L{bench.generator} end with.
    """
    return _Done(**json.loads(next(line for line in reversed(text.splitlines()) if line.startswith("{"))))


def _fromH2load(text: str) -> _Done:
    """
    Read the summary of h2load. Requests in flight when the time was up are neither done nor failed.
    """
    done = {word: int(number) for number, word in re.findall(r"(\d+) (succeeded|failed|errored|timeout|2xx)", text)}
    seconds = float(re.findall(r"finished in ([\d.]+)s", text)[0])
    # A head with 2xx may have come of what was in flight, too.
    bad = done["failed"] + done["errored"] + done["timeout"] + max(0, done["succeeded"] - done["2xx"])
    return _Done(done["succeeded"], int(re.findall(r"\((\d+)\) total", text)[0]), seconds, bad)


def _run(command: list[str], core: int, read: Callable[[str], _Done]) -> _Done:
    ended = subprocess.run(["taskset", "-c", str(core), *command], text=True, capture_output=True, check=False)
    try:
        done = read(ended.stdout)
    except (LookupError, StopIteration, ValueError):
        raise Failed(f"{' '.join(command)}: {ended.stdout}{ended.stderr}") from None
    if done.errors or not done.bytes:
        raise Failed(f"wrong answers to {' '.join(command)}: {done}")
    return done


@dataclass(frozen=True)
class Case:
    """
    A kind of work.

    @ivar name: Its name on the command line.
    @ivar title: What it is.
    @ivar config: The configurations it runs with: C{http1} is C{configs/http1.*}.
    @ivar unit: What its cost is counted in.
    @ivar behind: Which backend: C{http}, C{grpc} or C{echo}.
    """

    name: str
    title: str
    config: str
    unit: str
    behind: str = "http"

    #: Whether each measurement needs a proxy that has done nothing before.
    fresh = False

    #: Whether the listener speaks TLS, where the configuration leaves that open.
    isSecure = False

    def measure(self, proxy: Process, port: int, core: int, seconds: float) -> Sample:
        """
        Put a proxy to work.

        @param proxy: The proxy.
        @param port: Where it listens.
        @param core: Where the load may run.
        @param seconds: For how long.

        @raise Failed: If it answered wrongly, or not.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Load(Case):
    """
    Work whose cost is CPU time.

    @ivar connections: How many clients at once.
    @ivar tool: C{wrk}, C{h2load}, C{echoes}, C{handshakes} or C{resumptions}.
    @ivar scheme: How wrk speaks to the proxy.
    @ivar path: What wrk asks for.
    @ivar varied: Whether the requests differ.
    @ivar perByte: Whether the cost is of a gigabyte instead of a request.
    @ivar calls: Whether h2load makes calls of gRPC.
    """

    connections: int = 64
    tool: str = "wrk"
    scheme: str = "http"
    path: str = "/"
    varied: bool = False
    perByte: bool = False
    calls: bool = False

    @property
    def isSecure(self) -> bool:  # type: ignore[override]  # of the other kinds none leaves it open
        """
        See L{Case.isSecure}.
        """
        return self.scheme == "https"

    def measure(self, proxy: Process, port: int, core: int, seconds: float) -> Sample:
        """
        The CPU time of the proxy over the work done.
        """
        before = proxy.cpu()
        done = _run(self._command(port, seconds), core, _fromH2load if self.tool == "h2load" else _fromJSON)
        cpu = proxy.cpu() - before
        return self._sample(cpu, done)

    def _sample(self, cpu: float, done: _Done) -> Sample:
        """
        What a unit of the work cost.

        @param cpu: Seconds.

        @raise Failed: If there is nothing to divide, or to divide by: a machine that is busy enough ends no request
            in time.
        """
        if not cpu or not (done.bytes if self.perByte else done.requests):
            raise Failed(f"stood still: {done.requests:.0f} requests, {done.bytes:.0f} bytes in {done.seconds:.1f} s")
        if self.perByte:
            return Sample(cpu / (done.bytes / 1e9), done.bytes / 1e9 / done.seconds)
        return Sample(cpu / done.requests * 1e6, done.requests / done.seconds)

    def _command(self, port: int, seconds: float) -> list[str]:
        connections = str(self.connections)
        url = f"{self.scheme}://127.0.0.1:{port}{self.path}"
        # wrk and h2load take whole seconds.
        last = str(max(1, round(seconds)))
        if self.tool == "wrk" and (wrk := shutil.which("wrk")):
            command = [wrk, "-t1", "-c", connections, "-d", f"{last}s", "--timeout", "20s", "-s", str(_SCRIPT), url]
            return [*command, "--", "varied"] if self.varied else command
        if self.tool in ("h2load", "wrk") and (self.tool == "h2load" or self.scheme == "https"):
            h2load = shutil.which("h2load")
            if h2load is None or self.tool == "wrk":
                raise Failed(f"{self.tool} is not installed")
            command = [h2load, "-t1", "-c", connections, "-m", "16", "-D", last]
            if self.calls:
                return [*command, *_call(port), url]
            return [*command, *_variedRequests(port, self.scheme)] if self.varied else [*command, url]
        what = "requests" if self.tool == "wrk" else self.tool
        path = "/service/1/items" if self.varied else self.path
        options = ["--connections", connections, "--seconds", str(seconds), "--path", path]
        return [sys.executable, "-m", "bench.generator", what, str(port), *options]


def _call(port: int) -> list[str]:
    """
    What makes h2load call a method of gRPC as gRPC's own clients do.
    """
    message = Path(tempfile.gettempdir()) / f"bench-message-{port}"
    message.write_bytes(MESSAGE)
    return [*(part for field in CALL_FIELDS for part in ("-H", field)), "-d", str(message)]


CALL_FIELDS = (
    "content-type: application/grpc",
    "te: trailers",
    "user-agent: grpc-c++/1.74.0 grpc-c/48.0.0 (linux; chttp2)",
    "grpc-accept-encoding: identity, deflate, gzip",
    "grpc-timeout: 10S",
)
"""
Fields as the clients of gRPC send them.
"""


VARIED_FIELDS = (
    "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.1",
    "accept: application/json, text/plain, */*",
    "accept-encoding: gzip, deflate, br",
    "accept-language: en-GB,en;q=0.7,de;q=0.3",
    "cookie: session=0123456789abcdef; theme=dark; visit=7",
    "x-tenant: t17",
    "x-internal: drop-me",
)
"""
Fields as browsers send them.
"""


def variedPaths(count: int = 2000) -> list[str]:
    """
    What h2load asks for where requests vary.
    """
    draw = random.Random(7)
    return [
        f"/service/{n % 10}/items/{draw.randrange(100000)}?page={n % 50}&q={draw.getrandbits(30):x}"
        for n in range(count)
    ]


def _variedRequests(port: int, scheme: str) -> list[str]:
    """
    What makes h2load ask for 2000 paths, with fields as browsers send them.
    """
    uris = Path(tempfile.gettempdir()) / f"bench-uris-{port}"
    uris.write_text("".join(f"{scheme}://127.0.0.1:{port}{path}\n" for path in variedPaths()))
    return [*(part for field in VARIED_FIELDS for part in ("-H", field)), "-i", str(uris)]


@dataclass(frozen=True)
class Idle(Case):
    """
    Connections that wait: their cost is resident memory.

    @ivar count: How many.
    @ivar request: Whether each had a request and its response before.
    @ivar secure: Whether they speak TLS.
    """

    count: int = 2000
    request: bool = True
    secure: bool = False

    #: Memory that was freed is not given back, so a second round would find room for nothing.
    fresh = True

    def measure(self, proxy: Process, port: int, core: int, seconds: float) -> Sample:
        """
        How much the proxy grows by the connections, after it has served a few.
        """
        try:
            return self._grown(proxy, port)
        except OSError as error:
            raise Failed(f"a connection broke: {error}") from None

    def _grown(self, proxy: Process, port: int) -> Sample:
        self._open(port, 50)
        time.sleep(0.3)
        before = proxy.memory()
        began = time.monotonic()
        held = self._open(port, self.count)
        took = time.monotonic() - began
        # What is accepted in the background, and the tail of what it does after an answer, ends in this time.
        time.sleep(0.5)
        grown = proxy.memory() - before
        for sock in held:
            sock.close()
        return Sample(grown / self.count, self.count / took)

    def _open(self, port: int, count: int) -> list[socket.socket]:
        held: list[socket.socket] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), timeout=10)
            if self.secure:
                sock = context.wrap_socket(sock)
            held.append(sock)
            if self.request:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: bench.example.com\r\n\r\n")
                answer = b""
                while not answer.endswith(b"x" * 200):
                    data = sock.recv(65536)
                    if not data:
                        raise Failed(f"a connection was closed, after {answer!r}")
                    answer += data
        return held


CASES = {
    case.name: case
    for case in (
        Load("http1", "HTTP/1.1, small GET, 64 keep-alive connections", "http1", "us/request"),
        Load("full", "HTTP/1.1, full chain, 20 routes, requests vary", "full", "us/request", varied=True),
        Load("mesh", "HTTP/1.1, a sidecar's way out: routes of a mesh, requests vary", "mesh", "us/request",
             varied=True),
        Load("mesh-mtls", "HTTP/1.1, both sidecars in one, mutual TLS between them", "mesh-mtls", "us/request",
             varied=True),
        Load("tls", "HTTP/1.1 over TLS, small GET, 64 keep-alive connections", "tls", "us/request", scheme="https"),
        Load("http2", "HTTP/2 in the clear, small GET, 8 connections with 16 streams", "http2", "us/request",
             connections=8, tool="h2load"),
        Load("grpc", "gRPC, unary calls with 200 bytes each way, 8 connections with 16 streams", "grpc", "us/request",
             "grpc", connections=8, tool="h2load", path="/bench.Service/Method", calls=True),
        Load("grpc-full", "gRPC with access log, RBAC, statistics of calls and retries", "grpc-full", "us/request",
             "grpc", connections=8, tool="h2load", path="/bench.Service/Method", calls=True),
        Load("http2-full", "HTTP/2, full chain, 20 routes, paths vary", "full", "us/request",
             connections=8, tool="h2load", varied=True),
        Load("http2-tls", "HTTP/2 over TLS, small GET, 8 connections with 16 streams", "tls", "us/request",
             connections=8, tool="h2load", scheme="https"),
        Load("http2-tls-full", "HTTP/2 over TLS, full chain, 20 routes, paths vary", "full", "us/request",
             connections=8, tool="h2load", scheme="https", varied=True),
        Load("tcp", "TCP, 200 bytes to and fro, 50 connections", "tcp", "us/message", "echo", 50, "echoes"),
        Load("tcp-bulk", "TCP, 16 MB pieces, 4 connections", "tcp", "s/GB", connections=4, path="/big", perByte=True),
        Load("http-bulk", "HTTP/1.1, 16 MB bodies, 4 connections", "http1", "s/GB", connections=4, path="/big",
             perByte=True),
        Load("tls-bulk", "HTTP/1.1 over TLS, 16 MB bodies, 4 connections", "tls", "s/GB", connections=4, path="/big",
             perByte=True, scheme="https"),
        Load("tls-handshake", "TLS 1.3, a full handshake and one request", "tls", "us/request", tool="handshakes"),
        Load("tls-resume", "TLS 1.3, a resumed handshake and one request", "tls", "us/request", tool="resumptions"),
        Idle("idle-tls", "memory of an idle TLS connection, after a request", "tls", "bytes", count=1000, secure=True),
        Idle("idle", "memory of an idle connection, after a request", "http1", "bytes"),
        Idle("idle-new", "memory of an idle connection, before a request", "http1", "bytes", request=False),
    )
}  # fmt: skip
