"""
L{meshproxy.http.config} and L{meshproxy.http.settings}: what is refused, and what the fields become.
"""

from __future__ import annotations

import json
from textwrap import dedent
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import sectionFromYAML
from meshproxy.errors import ConfigErrors
from meshproxy.http.filter import HTTPFilter
from meshproxy.http.settings import ManagerSettings, compileManagerSettings
from meshproxy.testing import MemoryProxy, httpBootstrap, httpFilter, typedStruct

MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = httpFilter("router", "envoy.extensions.filters.http.router.v3.Router")


class Broken(HTTPFilter):
    """
    Cannot take its configuration.
    """

    @classmethod
    def compileConfig(cls, section: Any, context: Any) -> Any:
        """
        Raise.
        """
        raise ValueError("no configuration is good enough")


class NoFilter:
    """
    Is none.
    """


class RefusedTests(SynchronousTestCase):
    """
    Chains that cannot be.
    """

    def assertRefused(self, text: str, *words: str, **filters: Any) -> None:
        """
        A bootstrap is refused, with these words.
        """
        error = self.assertRaises(ConfigErrors, MemoryProxy, text, filters=filters)
        for word in words:
            self.assertIn(word, str(error))

    def test_empty(self) -> None:
        """
        A chain ends with a terminal filter.
        """
        self.assertRefused(httpBootstrap(manager={"http_filters": []}), "terminal filter", "empty")
        mutation = httpFilter("m", "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation")
        self.assertRefused(httpBootstrap(manager={"http_filters": [mutation]}), "'m' is not")

    def test_terminalFirst(self) -> None:
        """
        Which is the last one, and the only one.
        """
        self.assertRefused(httpBootstrap([ROUTER]), "'router' is a terminal filter and must be the last one")

    def test_unknown(self) -> None:
        """
        An unknown filter is told with those that are known.
        """
        self.assertRefused(
            httpBootstrap([{"name": "x", "typed_config": typedStruct("envoy.filters.http.falt")}]),
            "envoy.filters.http.fault",
        )
        self.assertRefused(
            httpBootstrap([{"name": "x", "typed_config": typedStruct("python:no.such.module:Class")}]),
            "no.such.module",
        )

    def test_raises(self) -> None:
        """
        A filter that raises at its configuration is refused with its words, and its traceback is logged.
        """
        chain = [{"name": "x", "typed_config": typedStruct("broken")}]
        self.assertRefused(httpBootstrap(chain), "ValueError", "no configuration is good enough", broken=Broken)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_noFilter(self) -> None:
        """
        So is a class that is no filter.
        """
        chain = [{"name": "x", "typed_config": typedStruct(f"python:{__name__}:NoFilter")}]
        self.assertRefused(httpBootstrap(chain), "NoFilter")

    def test_noRoutes(self) -> None:
        """
        A connection manager has routes, and they lead to clusters that exist.
        """
        bootstrap = json.loads(httpBootstrap())
        manager = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        del manager["route_config"]
        self.assertRefused(json.dumps(bootstrap), "route")
        self.assertRefused(httpBootstrap(route={"cluster": "nowhere"}), "nowhere")

    def test_routeForNobody(self) -> None:
        """
        What a route says to a filter that is not in the chain is refused.
        """
        host = {"typed_per_filter_config": {"gone": typedStruct("python:x:Y")}}
        self.assertRefused(httpBootstrap(virtualHost=host), "'gone'")

    def test_allAtOnce(self) -> None:
        """
        All faults are told at once, each with its path.
        """
        text = httpBootstrap([ROUTER, ROUTER], route={"cluster": "nowhere"})
        error = self.assertRaises(ConfigErrors, MemoryProxy, text)
        self.assertEqual(len(error.errors), 3)
        self.assertTrue(all(each.path.startswith("static_resources.") for each in error.errors), str(error))


def settings(text: str) -> ManagerSettings:
    """
    The settings of a connection manager.
    """
    section = sectionFromYAML(MANAGER, f"stat_prefix: s\nroute_config: {{}}\n{dedent(text)}")
    made = compileManagerSettings(section, 1234, "id", "cluster")
    section.report.raiseIfAny()
    return made


class SettingsTests(SynchronousTestCase):
    """
    Fields, and their defaults in Envoy.
    """

    def test_defaults(self) -> None:
        """
        Without anything.
        """
        made = settings("")
        self.assertEqual((made.statPrefix, made.serverName, made.bufferLimit), ("s", b"envoy", 1234))
        self.assertEqual((made.idleTimeout, made.streamIdleTimeout, made.drainTimeout), (3600.0, 300.0, 5.0))
        self.assertEqual((made.requestTimeout, made.requestHeadersTimeout, made.delayedCloseTimeout), (0.0, 0.0, 1.0))
        self.assertEqual((made.http1.maxHeadBytes, made.http1.maxHeaderCount), (60 * 1024, 100))
        self.assertTrue(made.forwarding.generateRequestId)
        self.assertIsNone(made.stripAuthority)

    def test_fields(self) -> None:
        """
        With everything.
        """
        made = settings(
            """
            server_name: mine
            via: 1.1 mine
            max_request_headers_kb: 10
            stream_idle_timeout: 1.5s
            request_timeout: 2s
            request_headers_timeout: 3s
            drain_timeout: 4s
            delayed_close_timeout: 0s
            use_remote_address: true
            xff_num_trusted_hops: 2
            generate_request_id: false
            always_set_request_id_in_response: true
            upgrade_configs: [{upgrade_type: WebSocket}, {upgrade_type: CONNECT, enabled: false}]
            common_http_protocol_options: {idle_timeout: 5s, max_headers_count: 7, max_connection_duration: 6s}
            http_protocol_options: {accept_http_10: true, default_host_for_http_10: here, enable_trailers: true}
            """
        )
        self.assertEqual((made.serverName, made.via, made.http1.maxHeadBytes), (b"mine", b"1.1 mine", 10240))
        self.assertEqual((made.streamIdleTimeout, made.requestTimeout, made.requestHeadersTimeout), (1.5, 2.0, 3.0))
        self.assertEqual((made.drainTimeout, made.delayedCloseTimeout), (4.0, 0.0))
        self.assertEqual((made.idleTimeout, made.maxConnectionDuration), (5.0, 6.0))
        self.assertEqual((made.forwarding.useRemoteAddress, made.forwarding.trustedHops), (True, 2))
        self.assertFalse(made.forwarding.generateRequestId)
        self.assertTrue(made.alwaysSetRequestId)
        self.assertEqual(made.upgrades, {b"websocket": True, b"connect": False})
        self.assertEqual((made.http1.maxHeaderCount, made.http1.defaultHost), (7, b"here"))
        self.assertTrue(made.http1.acceptHTTP10 and made.http1.enableTrailers)
