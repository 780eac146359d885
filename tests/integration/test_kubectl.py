"""
The API of the control plane with a client that others wrote: C{kubectl}.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from meshproxy.controlplane.api.access import Access
from meshproxy.controlplane.api.application import makeSite
from meshproxy.controlplane.store.ledger import Ledger

reactor: Any = installed

_RESOURCES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, labels: {app: reviews}}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews, subset: v1}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  ports: [{port: 9080, name: http}]
  selector: {app: reviews}
"""


class _Watch(ProcessProtocol):
    """
    Waits for a line, and for the end.
    """

    def __init__(self) -> None:
        self.seen: Deferred[bytes] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._came = b""

    def outReceived(self, data: bytes) -> None:
        # The line may come in pieces.
        self._came += data
        if b"\n" in self._came and not self.seen.called:
            self.seen.callback(self._came)

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(None)


class KubectlTests(TestCase):
    """
    C{kubectl} works on this API as on a cluster.
    """

    if shutil.which("kubectl") is None:
        skip = "kubectl is not installed (Debian: kubernetes-client)"

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.store = Ledger(reactor)
        self.site = makeSite(self.store, Access(), reactor)
        self.port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.addCleanup(self._stop)
        server = f"http://127.0.0.1:{self.port.getHost().port}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "mesh", "cluster": {"server": server}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "mesh", "context": {"cluster": "mesh", "user": "me"}}],
            "current-context": "mesh",
        }
        (self.folder / "config").write_text(json.dumps(config))
        self.file = self.folder / "mesh.yaml"
        self.file.write_text(_RESOURCES)

    @inlineCallbacks
    def _stop(self) -> Any:
        yield self.port.stopListening()
        self.site.stop()
        self.store.close()
        # Connections that kubectl left are closed by it; the server's side hears of that in the next turns.
        for channel in [one for one in reactor.getReaders() if hasattr(one, "loseConnection")]:
            if getattr(getattr(channel, "protocol", None), "factory", None) is self.site:
                channel.loseConnection()
        later: Deferred[None] = Deferred()
        reactor.callLater(0, later.callback, None)
        yield later

    @inlineCallbacks
    def run_(self, *arguments: str, code: int = 0) -> Any:
        """
        Run C{kubectl}.

        @return: A Deferred of what it wrote, errors too.
        """
        environment = {**os.environ, "KUBECONFIG": str(self.folder / "config"), "HOME": str(self.folder)}
        out, err, status = yield getProcessOutputAndValue(shutil.which("kubectl"), arguments, environment)
        self.assertEqual(status, code, (arguments, out, err))
        return (out + err).decode()

    @inlineCallbacks
    def test_life(self) -> Any:
        """
        Apply, get, change, patch, list by label, delete: each as kubectl expects it.
        """
        apply = ("apply", "-f", str(self.file))
        told = yield self.run_(*apply)
        self.assertEqual(told.splitlines(), [
            "virtualservice.networking.istio.io/reviews created", "service/reviews created",
        ])  # fmt: skip
        self.file.write_text(_RESOURCES.replace("subset: v1", "subset: v2").replace("9080", "9081"))
        told = yield self.run_(*apply)
        self.assertEqual(told.count("configured"), 2, told)
        told = yield self.run_(*apply)
        self.assertEqual(told.count("unchanged"), 2, told)
        found = json.loads((yield self.run_("get", "vs", "reviews", "-o", "json")))
        self.assertEqual(found["spec"]["http"][0]["route"][0]["destination"]["subset"], "v2")
        told = yield self.run_("explain", "vs.spec.http.route.destination")
        self.assertIn("subset\t<string>", told)
        ports = json.loads((yield self.run_("get", "svc", "reviews", "-o", "json")))["spec"]["ports"]
        self.assertEqual(ports, [{"name": "http", "port": 9081}])
        told = yield self.run_("get", "virtualservices", "-A", "-l", "app=reviews")
        self.assertEqual(told.split()[:4], ["NAMESPACE", "NAME", "GATEWAYS", "HOSTS"])
        self.assertIn("reviews", told)
        yield self.run_("patch", "svc", "reviews", "--type=json", "-p", '[{"op":"remove","path":"/spec/selector"}]')
        told = yield self.run_("delete", "-f", str(self.file))
        self.assertEqual(told.count("deleted"), 2)
        told = yield self.run_("get", "vs,svc")
        self.assertIn("No resources found", told)

    @inlineCallbacks
    def test_faults(self) -> Any:
        """
        What is wrong is told in a way that kubectl shows.
        """
        self.file.write_text(_RESOURCES.replace("hosts:", "hots:"))
        told = yield self.run_("create", "--validate=false", "-f", str(self.file), code=1)
        self.assertIn("spec.hots: 'hots' is not known here; did you mean hosts?", told)
        told = yield self.run_("create", "--validate=false", "-f", str(self.file), code=1)
        self.assertIn("Error from server (AlreadyExists)", told)
        told = yield self.run_("get", "vs", "none", code=1)
        self.assertIn("Error from server (NotFound): VirtualService default/none not found", told)

    @inlineCallbacks
    def test_serverSide(self) -> Any:
        """
        Server-side apply, beside another manager and after an apply of the other kind; conflicts are told, and forced.
        """
        yield self.run_("apply", "-f", str(self.file))
        apply = ("apply", "--server-side", "-f", str(self.file))
        told = yield self.run_(*apply)
        self.assertEqual(told.count("serverside-applied"), 2, told)
        self.file.write_text(_RESOURCES.replace("subset: v1", "subset: v2"))
        told = yield self.run_(*apply, "--field-manager=other", code=1)
        self.assertIn("Apply failed with 1 conflict", told)
        self.assertIn(".spec.http: 'kubectl' manages it, with networking.istio.io/v1", told)
        self.assertIn("--force-conflicts", told)
        told = yield self.run_(*apply, "--field-manager=other", "--force-conflicts")
        self.assertEqual(told.count("serverside-applied"), 2, told)
        told = yield self.run_("get", "vs", "reviews", "-o", "yaml", "--show-managed-fields")
        self.assertEqual([line.split()[-1] for line in told.splitlines() if "manager:" in line], [
            "other", "kubectl", "kubectl-last-applied",
        ])  # fmt: skip
        # An apply of the other kind, and one of this kind after it, which moves what that one had.
        self.file.write_text(_RESOURCES.replace("subset: v1", "subset: v3"))
        told = yield self.run_("apply", "-f", str(self.file))
        self.assertIn("reviews configured", told)
        told = yield self.run_(*apply)
        self.assertEqual(told.count("serverside-applied"), 2, told)
        told = yield self.run_("diff", "--server-side", "-f", str(self.file))
        self.assertEqual(told, "")

    @inlineCallbacks
    def test_watch(self) -> Any:
        """
        A watch sees what happens while it runs.
        """
        watch = _Watch()
        command = [shutil.which("kubectl"), "get", "svc", "-w", "-o", "name"]
        environment = {**os.environ, "KUBECONFIG": str(self.folder / "config"), "HOME": str(self.folder)}
        process = reactor.spawnProcess(watch, command[0], command, environment)
        yield self.run_("apply", "--validate=false", "-f", str(self.file))
        told = yield watch.seen
        self.assertEqual(told, b"service/reviews\n")
        process.signalProcess("KILL")
        yield watch.ended
