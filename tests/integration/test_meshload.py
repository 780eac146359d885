"""
A small mesh under load, with mutual TLS only: its certificates change every two seconds, its resources ten times a
second, its control plane is killed and started again. No request fails.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from meshproxy.config.structure import structureOrRaise
from meshproxy.controlplane.demo.bootstraps import Member, gateway, ownBootstrap, sidecar
from meshproxy.controlplane.demo.workloads import OWN_PORT, Workload
from meshproxy.identity.settings import IdentitySettings
from tests.integration.control import ControlTestCase, call
from tests.integration.pacing import Pacing
from tests.integration.process import Proxy, until

#: Seconds; in the long run they are told.
_LONG = "MESHPROXY_TEST_ROTATION" in os.environ
_TIME = float(os.environ.get("MESHPROXY_TEST_ROTATION", "10"))
#: Seconds between two changes.
_PACE = 0.1
_NETWORK = f"127.{20 + os.getpid() % 200}"
_DETAILS = Workload("details", "v1", 9)

_RESOURCES = """
apiVersion: v1
kind: Service
metadata: {{name: details, labels: {{app: details}}}}
spec: {{selector: {{app: details}}, ports: [{{name: http, port: 9080}}]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: details-v1}}
spec: {{address: {address}, labels: {{app: details, version: v1}}, serviceAccount: bookinfo-details}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default}}
spec: {{mtls: {{mode: STRICT}}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, bind: 127.0.0.1, hosts: ["*"]}}]
"""

_CHANGING = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: details}}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
  - route: [{{destination: {{host: details, port: {{number: 9080}}}}}}]
    headers: {{response: {{set: {{x-round: "{number}"}}}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: details}}
spec: {{host: details, trafficPolicy: {{connectionPool: {{tcp: {{connectTimeout: {seconds}s}}}}}}}}
"""


class _Answers(BaseHTTPRequestHandler):
    """
    The workload.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """
        Say who asked.
        """
        body = self.headers.get("x-forwarded-client-cert", "").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *told: Any) -> None:
        """
        Say nothing.
        """


class _Load:
    """
    Requests, one after the other, each second one on a connection of its own.

    @ivar faults: What went wrong.
    @ivar rounds: The versions of the resources that were seen.
    """

    def __init__(self, port: int) -> None:
        self.count = 0
        self.faults: list[str] = []
        self.rounds: set[str] = set()
        self.callers: set[str] = set()
        self._port = port

    def run(self, isOver: Callable[[], bool]) -> None:
        """
        Go on until it is over.
        """
        kept = HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not isOver():
            connection = kept if self.count % 2 else HTTPConnection("127.0.0.1", self._port, timeout=60)
            self.count += 1
            try:
                self._ask(connection)
            except Exception as error:
                self.faults.append(repr(error))
            if connection is not kept:
                connection.close()
            # The machine is to have time for the rest.
            time.sleep(0.005)
        kept.close()

    def _ask(self, connection: HTTPConnection) -> None:
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read().decode()
        if response.status != 200:
            self.faults.append(f"{response.status} {body}")
        self.rounds.add(response.headers.get("x-round", ""))
        self.callers.add(body.partition("URI=")[2])


def _certificates(proxy: Proxy) -> int:
    """
    How many a proxy had.
    """
    return proxy.log.count("has a certificate until")


class MeshLoadTests(ControlTestCase):
    """
    See the module.
    """

    def member(self, member: Member) -> Proxy:
        """
        Start a proxy with an identity whose certificates are renewed after two seconds; they last for longer, since the
        control plane takes a while to start.
        """
        asked = json.dumps({"serviceAccount": member.account}).encode()
        token = self.folder / f"{member.name}.token"
        token.write_text(self.ask("POST", "/v1/ca/tokens", asked)["token"])
        roots = self.folder / "roots.pem"
        roots.write_text(self.ask("GET", "/v1/ca/roots")["pem"])
        told = {"address": f"127.0.0.1:{self.xdsTLS}", "server_name": "localhost", "roots": str(roots)}
        lives = {"lifetime": "40s", "grace_period_ratio": 0.95}
        identity = structureOrRaise(IdentitySettings, {**told, **lives, "token": str(token)})
        path = self.folder / f"{member.name}.json"
        path.write_text(ownBootstrap(member, self.xdsTLS, identity))
        return Proxy(self, "-c", str(path), "--drain-time-s", "0.5", folder=self.folder / member.name)

    def change(self, number: int) -> None:
        """
        Apply the next version.
        """
        text = _CHANGING.format(number=number, seconds=5 + number % 2)
        status, told = call(self.rest, "POST", "/v1/apply", text.encode(), "application/yaml")
        self.assertEqual(status, 200, told)

    def test_load(self) -> None:
        """
        See the module.
        """
        server = ThreadingHTTPServer((_DETAILS.inbound(_NETWORK), OWN_PORT), _Answers)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        for undo in (thread.join, server.server_close, server.shutdown):
            self.addCleanup(undo)
        self.apply(_RESOURCES.format(address=_DETAILS.inbound(_NETWORK), port=self.gateway))
        self.change(0)
        self.proxies = [self.member(sidecar(_DETAILS, _NETWORK)), self.member(gateway(_NETWORK))]
        until(lambda: self.status("/") == 200, "the way through the mesh", 30)
        load = _Load(self.gateway)
        over = threading.Event()
        worker = threading.Thread(target=load.run, args=(over.is_set,))
        worker.start()
        try:
            self.upset(load)
        finally:
            over.set()
            worker.join()
        if _LONG:
            told = f"{load.count} requests, {len(load.faults)} faults, {self.changes.done} changes of resources"
            certificates = sum(map(_certificates, self.proxies))
            sys.stdout.write(f"{told} (one every {self.changes.pace * 1000:.0f} ms), {certificates} certificates ")
        self.assertEqual(load.faults, [])
        self.assertGreater(load.count, 10 * _TIME)
        # In clear nobody comes through.
        self.assertEqual(load.callers, {"spiffe://cluster.local/ns/default/sa/bookinfo-gateway"})
        for proxy in self.proxies:
            self.assertNotIn("Traceback", proxy.log)

    def upset(self, load: _Load) -> None:
        """
        Change the resources again and again, and kill the control plane in the middle of it.
        """
        began = time.monotonic()
        self.changes = Pacing(self.change, _PACE)
        with self.changes:
            time.sleep(_TIME / 3)
            with self.changes.halted():
                self.control.process.kill()
                self.control.process.wait()
                self.start()
                before = list(map(_certificates, self.proxies))
            time.sleep(max(0.0, began + _TIME - time.monotonic()))
        self.assertEqual(self.changes.faults, [])
        # One begins every 100 ms; where the machine has much else to do, some are left out.
        self.assertLess(self.changes.pace, 2 * _PACE)
        seen = len(load.rounds)
        self.assertGreater(seen, 5)
        self.change(0)
        load.rounds.discard("0")
        until(lambda: "0" in load.rounds, "what was changed after the control plane came again", 30)
        # Three at least, however long the control plane took to come again.
        wanted = [max(count, 3) for count in before]
        until(lambda: all(map(int.__gt__, map(_certificates, self.proxies), wanted)), "certificates after it", 30)
