"""
What tests of the http room share: a proxy in memory whose filters the test writes in its own lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.http.filter import HTTPFilter
from meshproxy.testing import MemoryBackend, MemoryNetwork, MemoryProxy, VirtualReactor, httpBootstrap, typedStruct
from meshproxy.testing.bootstraps import BACKEND

__all__ = ["EVENTS", "LOG", "ProxyCase", "recorder", "scripted"]

#: What filters may be told of.
EVENTS = (
    "requestHeaders",
    "requestData",
    "requestTrailers",
    "responseHeaders",
    "responseData",
    "responseTrailers",
    "streamEnded",
)

#: The access log of L{ProxyCase}.
LOG = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%"


def scripted(**methods: Callable[..., object]) -> type[HTTPFilter]:
    """
    A filter that has these methods, without C{self}, and no others.
    """

    def method(call: Callable[..., object]) -> Callable[..., object]:
        return lambda self, *args: call(*args)

    return type("Scripted", (HTTPFilter,), {name: method(call) for name, call in methods.items()})


def recorder(log: list[Any], name: str = "") -> type[HTTPFilter]:
    """
    A filter that lets all pass and notes it: C{"name event payload"}, with a full stop where it ended the message.
    """

    def note(event: str) -> Callable[..., None]:
        def call(stream: Any, payload: Any = None, end: bool = False) -> None:
            shown = payload.decode() if isinstance(payload, bytes) else ""
            if event.endswith("Trailers"):
                shown = ",".join(key.decode() for key in payload.first)
            log.append(f"{name} {event} {shown}".strip() + "." * bool(end))

        return call

    return scripted(**{event: note(event) for event in EVENTS})


class ProxyCase(SynchronousTestCase):
    """
    A proxy, made by L{start}, and the backend behind it.

    @cvar readSize: How many bytes a read takes at most; 0 for all.
    """

    readSize = 0
    capacity = 0
    proxy: MemoryProxy
    backend: MemoryBackend

    def start(
        self, *filters: type[HTTPFilter], chance: Callable[[], float] = lambda: 0.5, **config: Any
    ) -> MemoryProxy:
        """
        Make them.

        @param filters: The filters of the chain, before the router; their names are C{f0}, C{f1} and so on.
        @param config: For L{httpBootstrap}.
        """
        given = {f"f{number}": each for number, each in enumerate(filters)}
        chain = [{"name": name, "typed_config": typedStruct(name)} for name in given]
        config.setdefault("accessLog", LOG)
        network = MemoryNetwork(VirtualReactor(), readSize=self.readSize, capacity=self.capacity)
        self.proxy = MemoryProxy(httpBootstrap(chain, **config), network, given, chance)
        self.backend = self.proxy.backend(BACKEND)
        return self.proxy

    def trailers(self) -> dict[str, Any]:
        """
        What a connection manager needs to pass trailers.
        """
        return {"http_protocol_options": {"enable_trailers": True}}

    def stat(self, name: str) -> int:
        """
        A stat of the connection manager.
        """
        return self.proxy.stat(f"http.test.{name}")

    def clusterStat(self, name: str) -> int:
        """
        A stat of the cluster; 0 too where it was never counted.
        """
        return self.proxy.stats("cluster.backend.").get(f"cluster.backend.{name}", 0)

    def assertQuiet(self) -> None:
        """
        Nothing is under way any more: no stream, no request, no wait.
        """
        stats = self.proxy.stats()
        busy = {
            name: value
            for name, value in stats.items()
            if value and name.endswith(("_rq_active", "_rq_pending_active", "rq_retry_open")) and "worker" not in name
        }
        self.assertEqual(busy, {})
