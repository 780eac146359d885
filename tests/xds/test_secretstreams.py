"""
Tests for L{meshproxy.xds.secretstreams}: a proxy whose secrets come from a control plane of their own, in memory.
"""

from __future__ import annotations

import json
from typing import Any

from meshproxy.errors import ConfigErrors
from meshproxy.testing.network import MemoryNetwork
from meshproxy.testing.pki import Authority
from meshproxy.testing.proxy import MemoryProxy
from meshproxy.xds.types import SECRET
from tests.xds.support import CONTROL, JSON, XDSTestCase

_PREFIX = "type.googleapis.com/envoy.extensions.filters."
_MANAGER = _PREFIX + "network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = {"@type": _PREFIX + "http.router.v3.Router"}
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_AUTHORITY = Authority()


def secret(name: str = "mine") -> JSON:
    """
    Another certificate each time.
    """
    return {"name": name, "tlsCertificate": _AUTHORITY.issue(f"{name}.test").inline}


class SecretStreamTests(XDSTestCase):
    """
    C{api_config_source} of secrets.
    """

    def service(self, **more: Any) -> JSON:
        """
        Where a secret comes from.
        """
        service = {"envoy_grpc": {"cluster_name": "xds"}, "initial_metadata": [{"key": "X-Meta", "value": "1"}]}
        api = {"api_type": self.variant, "transport_api_version": "V3", "grpc_services": [service], **more}
        return {"api_config_source": api, "resource_api_version": "V3"}

    def listener(self, name: str = "mine", port: int = 443, **more: Any) -> JSON:
        """
        A listener whose certificate comes so.
        """
        common = {"tls_certificate_sds_secret_configs": [{"name": name, "sds_config": {**self.service(), **more}}]}
        context = {"@type": _TLS, "common_tls_context": common}
        action = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
        manager = {
            "@type": _MANAGER,
            "stat_prefix": "in",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [action]}]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": _ROUTER}],
        }
        return {
            "name": f"listener{port}",
            "address": {"socket_address": {"address": "192.0.2.1", "port_value": port}},
            "filter_chains": [
                {
                    "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
                    "filters": [{"name": "manager", "typed_config": manager}],
                }
            ],
        }

    def bootstrap(self, **static: Any) -> str:
        """
        A bootstrap without a control plane but for secrets.
        """
        held = json.loads(super().bootstrap(**static))
        del held["dynamic_resources"]
        return json.dumps(held)

    def held(self, name: str = "mine") -> list[str]:
        """
        The certificates of a secret that the proxy has; none where it has not come.
        """
        return [
            "" if one.section is None else one.section.message.tls_certificate.certificate_chain.inline_string
            for one in self.proxy.server.secrets.dynamic
            if one.name == name
        ]

    def counted(self, name: str = "mine") -> dict[str, int]:
        """
        What is counted of a secret.
        """
        names = ("attempt", "success", "failure", "rejected")
        found = {one: self.proxy.stat(f"sds.{name}.update_{one}") for one in names}
        return {one: value for one, value in found.items() if value}

    def test_comes(self) -> None:
        """
        It comes, changes, and each time the context is another one.
        """
        first, second = secret(), secret()
        self.source.set(secrets=[first, secret("other")])
        self.start(listeners=[self.listener()])
        self.assertEqual((self.proxy.server.state, self.held()), ("LIVE", [_chain(first)]))
        self.assertEqual(self.counted(), {"attempt": 2, "success": 1})
        (connected,) = self.xds.connected()
        self.assertEqual((connected.node["id"], set(connected.session.subscriptions)), ("p1", {SECRET}))
        self.change(secrets=[second, secret("other")])
        self.assertEqual((self.held(), self.counted()), ([_chain(second)], {"attempt": 3, "success": 2}))
        self.assertEqual(self.proxy.stat("sds.mine.control_plane.connected_state"), 1)
        (user,) = self.proxy.server.secrets.users
        ((_, chains),) = user.certificates()
        self.assertEqual(len(chains), 1)

    def test_each(self) -> None:
        """
        Each secret has its stream; what two listeners want has one.
        """
        self.source.set(secrets=[secret(), secret("other")])
        listeners = [self.listener(), self.listener("other", 444), self.listener("mine", 445)]
        self.start(listeners=listeners)
        self.assertEqual(len(self.xds.connected()), 2)
        self.assertEqual((self.counted(), self.counted("other")), ({"attempt": 2, "success": 1},) * 2)

    def test_wrong(self) -> None:
        """
        What does not load is refused with its reason, and what was there stays.
        """
        first = secret()
        self.source.set(secrets=[first])
        self.start(listeners=[self.listener()])
        wrong = {"certificateChain": {"inlineString": "x"}, "privateKey": {"inlineString": "y"}}
        self.change(secrets=[{"name": "mine", "tlsCertificate": wrong}])
        self.assertEqual((self.held(), self.counted()["rejected"]), ([_chain(first)], 1))
        self.assertIn("secrets[mine].tls_certificate", self.states()["Secret"])
        self.flushLoggedErrors()

    def test_away(self) -> None:
        """
        While its control plane is away the secret stays; then it follows again.
        """
        first, second = secret(), secret()
        self.source.set(secrets=[first])
        self.start(listeners=[self.listener()])
        self.listening.stopListening()
        self.server.stop()
        self.reactor.advance(5)
        self.assertGreater(self.counted()["failure"], 0)
        self.assertEqual((self.held(), self.proxy.stat("sds.mine.control_plane.connected_state")), ([_chain(first)], 0))
        self.source.set(secrets=[second])
        self.listening = self.network.listen(CONTROL, self.server.buildProtocol)
        self.reactor.advance(30)
        self.assertEqual(self.held(), [_chain(second)])

    def test_late(self) -> None:
        """
        The proxy listens, and says that it is there, when its secrets are, and at the latest after their time: nobody
        is turned away for want of a certificate that is on its way.
        """
        self.start(listeners=[self.listener(initial_fetch_timeout="5s")])
        self.assertEqual((self.proxy.server.state, list(self.proxy.server.listeners.byName)), ("INITIALIZING", []))
        self.reactor.advance(5)
        self.assertEqual(list(self.proxy.server.listeners.byName), ["listener443"])
        self.assertEqual((self.proxy.server.state, self.proxy.stat("sds.mine.init_fetch_timeout")), ("LIVE", 1))
        self.assertEqual(self.held(), [""])
        self.change(secrets=[secret()])
        self.assertNotEqual(self.held(), [""])

    def test_patient(self) -> None:
        """
        With a time of 0 it is waited for as long as it takes.
        """
        self.start(listeners=[self.listener(initial_fetch_timeout="0s")])
        self.reactor.advance(600)
        self.assertEqual(self.proxy.server.state, "INITIALIZING")
        self.change(secrets=[secret()])
        self.assertEqual(self.proxy.server.state, "LIVE")

    def test_unused(self) -> None:
        """
        A stream ends soon after nobody uses its secret any more, not at once: what is made anew takes it over.
        """
        self.source.set(secrets=[secret(), secret("other")])
        self.start(listeners=[self.listener(), self.listener("other", 444)])
        (leave,) = [self.proxy.server.secrets.dynamic[0].subscribe(lambda: None)]
        leave()
        self.reactor.advance(20)
        self.assertEqual(len(self.xds.connected()), 2)
        listeners = self.proxy.server.listeners
        listeners.replace([one for one in listeners if one.name == "listener444"])
        self.reactor.advance(5)
        self.assertEqual(len(self.xds.connected()), 2)
        self.reactor.advance(6)
        self.assertEqual(len(self.xds.connected()), 1)
        self.assertEqual([one.name for one in self.proxy.server.secrets.dynamic], ["other"])

    def test_faults(self) -> None:
        """
        Sources that are not there, and kinds that there are not, are refused with their places.
        """
        rest: JSON = {"api_type": "REST"}
        unknown = {"grpc_services": [{"envoy_grpc": {"cluster_name": "xdss"}}]}
        aggregated = {"api_type": "AGGREGATED_GRPC"}
        none: JSON = {"grpc_services": []}
        for more, told in (
            (rest, "api_type"),
            (unknown, "there is no static cluster 'xdss'"),
            (aggregated, "a secret comes by GRPC or DELTA_GRPC"),
            (none, "one service with envoy_grpc is needed"),
        ):
            text = self.bootstrap(listeners=[self.listener(**self.service(**more))])
            error = self.assertRaises(ConfigErrors, MemoryProxy, text, MemoryNetwork(self.reactor))
            self.assertIn(told, str(error))
            self.assertIn("sds_config.api_config_source", str(error))


class DeltaSecretStreamTests(SecretStreamTests):
    """
    The same by delta.
    """

    variant = "DELTA_GRPC"


def _chain(given: JSON) -> str:
    chain: str = given["tlsCertificate"]["certificate_chain"]["inline_string"]
    return chain
