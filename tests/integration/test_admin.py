"""
The admin of a proxy that C{twistd} runs, asked over sockets.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import meshproxy

ROOT = Path(meshproxy.__file__).resolve().parent.parent

_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
BOOTSTRAP = f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: front
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {_MANAGER}
          stat_prefix: front
          http_filters:
          - name: greeter
            typed_config:
              "@type": type.googleapis.com/xds.type.v3.TypedStruct
              type_url: "python:admingreeter:Greeter"
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: hello}}}}}}
"""

FILTER = """
from meshproxy.http.filter import HTTPFilter

class Greeter(HTTPFilter):
    def responseHeaders(self, stream, headers, endStream):
        headers.set(b"x-word", b"one")
"""

TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "meshproxy", "proxy")

# So long may a busy machine take for what is done at once.
_PATIENCE = 30.0


class AdminProcessTests(SynchronousTestCase):
    """
    One process for each test.
    """

    def setUp(self) -> None:
        """
        Start it, and wait until it serves.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.filter = folder / "admingreeter.py"
        self.filter.write_text(FILTER)
        self.addressFile = folder / "address"
        path = os.pathsep.join([str(ROOT), str(folder), *filter(None, sys.path)])
        self.environment = {**os.environ, "PYTHONPATH": path}
        self.process = subprocess.Popen(
            [
                *TWISTD,
                *("--config-yaml", BOOTSTRAP, "--watch-filters", "--drain-time-s", "1"),
                *("--admin-address-path", str(self.addressFile)),
            ],
            env=self.environment,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(self.end)
        self.until(self.addressFile.exists)
        self.until(lambda: self.ask("GET", "/ready")[0] == 200)

    def end(self) -> None:
        """
        End the process, however it is.
        """
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def until(self, holds: Callable[[], object]) -> None:
        """
        Wait until something holds, or the process ends.
        """
        deadline = time.monotonic() + _PATIENCE
        while not holds():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.fail(f"ended with {self.process.poll()}")
            select.select([], [], [], 0.02)

    def ask(self, method: str, target: str) -> tuple[int, str, str]:
        """
        Ask the admin.

        @return: Status, content type and body.
        """
        host, _, port = self.addressFile.read_text().rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=_PATIENCE)
        try:
            connection.request(method, target)
            response = connection.getresponse()
            return response.status, response.getheader("content-type", ""), response.read().decode("utf-8")
        finally:
            connection.close()

    def front(self) -> http.client.HTTPConnection:
        """
        A connection to the proxy's listener.
        """
        _, _, text = self.ask("GET", "/listeners")
        match = re.search(r"^front::127\.0\.0\.1:(\d+)$", text, re.M)
        assert match is not None, text
        connection = http.client.HTTPConnection("127.0.0.1", int(match[1]), timeout=_PATIENCE)
        self.addCleanup(connection.close)
        return connection

    def test_everyPath(self) -> None:
        """
        Each path answers with a status and a type as it should, and each JSON is one.
        """
        for target, kind in (
            ("/", "text/html"),
            ("/help", "text/plain"),
            ("/ready", "text/plain"),
            ("/server_info", "application/json"),
            ("/config_dump?include_eds", "application/json"),
            ("/clusters", "text/plain"),
            ("/clusters?format=json", "application/json"),
            ("/listeners?format=json", "application/json"),
            ("/stats", "text/plain"),
            ("/stats?format=json&usedonly", "application/json"),
            ("/stats?format=html", "text/html"),
            ("/stats/prometheus", "text/plain"),
            ("/runtime", "application/json"),
            ("/memory", "application/json"),
            ("/certs", "application/json"),
            ("/init_dump", "application/json"),
            ("/hot_restart_version", "text/plain"),
            ("/contention", "text/plain"),
        ):
            status, contentType, body = self.ask("GET", target)
            self.assertEqual((status, contentType.partition(";")[0]), (200, kind), target)
            if kind == "application/json":
                json.loads(body)
        changing = ("/reset_counters", "/logging?level=info", "/reopen_logs", "/healthcheck/fail", "/healthcheck/ok")
        for target in changing:
            self.assertEqual(self.ask("GET", target)[0], 405, target)
            self.assertEqual(self.ask("POST", target)[0], 200, target)
        self.assertEqual(self.ask("GET", "/nosuch")[0], 404)

    def test_counts(self) -> None:
        """
        Requests are counted where Prometheus finds them.
        """
        front = self.front()
        for _ in range(3):
            front.request("GET", "/")
            self.assertEqual(front.getresponse().read(), b"hello")
        _, _, text = self.ask("GET", "/stats/prometheus?filter=^http.front.downstream_rq_total$")
        self.assertIn('envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="front"} 3', text)

    def test_watchFilters(self) -> None:
        """
        A filter that is saved serves the next stream of a connection that was open before.
        """
        front = self.front()

        def word() -> str | None:
            front.request("GET", "/")
            response = front.getresponse()
            response.read()
            return response.getheader("x-word")

        self.assertEqual(word(), "one")
        kept = front.sock
        self.filter.write_text(FILTER.replace("one", "two"))
        self.until(lambda: word() == "two")
        self.assertIs(front.sock, kept)

    def test_quit(self) -> None:
        """
        C{/quitquitquit} is answered, and ends the process with 0.
        """
        self.assertEqual(self.ask("POST", "/quitquitquit"), (200, "text/plain; charset=UTF-8", "OK\n"))
        self.assertEqual(self.process.wait(_PATIENCE), 0)

    def test_taken(self) -> None:
        """
        An address that is taken ends a process with 1 and one line.
        """
        host, _, port = self.addressFile.read_text().rpartition(":")
        text = BOOTSTRAP.replace("port_value: 0", f"port_value: {port}", 1)
        done = subprocess.run(
            [*TWISTD, "--config-yaml", text, "-l", "error"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"cannot listen on {host}:{port}", done.stderr)
        self.assertNotIn("Traceback", done.stderr)
