"""
What a mesh has to endure: load, while its certificates, its resources and its mode change, and its control plane is
killed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import threading
import time
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path

from tests.integration.control import call
from tests.integration.pacing import Pacing
from tests.integration.process import until

__all__ = ["PACE", "Endurance", "children", "failedHops"]

# What is changed again and again: where reviews are asked for, and how they are connected to.
_CHANGING = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec: {{hosts: [reviews], http: [{{route: [{{destination: {{host: reviews, subset: {version}}}}}]}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews}}
spec:
  host: reviews
  trafficPolicy: {{connectionPool: {{tcp: {{connectTimeout: {seconds}s}}}}}}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
  - {{name: v3, labels: {{version: v3}}}}
"""

# Whether who comes in clear is let in: another filter chain takes the place of the one that there is.
_MODE = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default}}
spec: {{mtls: {{mode: {mode}}}}}
"""
_MODES = ("STRICT", "PERMISSIVE")

_MISSING = (
    "Sorry, product details are currently unavailable for this book.",
    "Sorry, product reviews are currently unavailable for this book.",
    "Ratings service is currently unavailable",
)

#: Seconds between two changes of resources.
PACE = 0.1

# Those between two changes of the mode, looks at the certificates, and kills: of those there is one after a third of
# the time at least. And those between two looks at the clock.
_MODE_LASTS, _LOOK, _LIFE, _TICK = 3.0, 1.0, 100.0, 0.05

# Seconds that it may last for longer, on a machine that has much else to do.
_LATE = 60.0

# How many ask for pages, one after the other.
_ASKING = 2

# In a line of Istio's access log: the status, the flags, the request's id.
_STATUS, _FLAGS, _ID = 2, 3, 13


def children(parent: int) -> list[int]:
    """
    The processes that a process started.
    """
    return [int(each) for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def failedHops(text: str) -> list[str]:
    """
    Of access logs, all lines of the requests that failed at some hop: who failed, why, and what became of it.
    """
    lines = [(line, shlex.split(line)) for line in text.splitlines()]
    failed = {words[_ID] for _, words in lines if words[_STATUS] != "200" or words[_FLAGS] != "-"}
    return [line for line, words in lines if words[_ID] in failed]


class Endurance:
    """
    A while of that.

    @ivar faults: What went wrong with pages and with changes, each with the time.
    @ivar pages: How many there were, faults included.
    @ivar versions: The reviews that were seen.
    @ivar changes: Those of resources, at their pace, which halts while the control plane is away.
    @ivar modes: How often the mode changed; C{kills}: how often the control plane was killed.
    @ivar serials: Those of all certificates that were seen.
    """

    def __init__(self, demo: int, port: int, rest: int, seconds: float) -> None:
        """
        @param demo: The process, whose child the control plane is.
        @param port: Where the page is; C{rest}: where the control plane.
        """
        self.faults: list[str] = []
        self.versions: set[str] = set()
        self.serials: set[str] = set()
        self.pages = self.modes = self.kills = 0
        self.changes = Pacing(self._change, PACE)
        self._demo = demo
        self._port = port
        self._rest = rest
        self._seconds = seconds
        self._over = threading.Event()
        # The newest revision that was acknowledged.
        self._revision = 0

    def __str__(self) -> str:
        return (
            f"{self.pages} pages, {len(self.faults)} faults, {self.changes.done} changes of resources (one every "
            f"{self.changes.pace * 1000:.0f} ms), {self.modes} of the mode, {len(self.serials)} certificates, "
            f"{self.kills} kills in {self._seconds:g} s"
        )

    def run(self) -> None:
        """
        Go through it. In the end all certificates are other ones than when the control plane last came again, and
        nobody is let in in clear.
        """
        workers = [threading.Thread(target=self._load) for _ in range(_ASKING)]
        for worker in workers:
            worker.start()
        try:
            with self.changes:
                before = self._upset()
            self.faults += self.changes.faults
            self._apply(_MODE.format(mode=_MODES[0]))
            until(lambda: self._areOthers(before), "new certificates", 60.0)
        finally:
            self._over.set()
            for worker in workers:
                worker.join()

    # Load

    def _load(self) -> None:
        while not self._over.is_set():
            began = datetime.now(UTC).isoformat(timespec="milliseconds")
            try:
                page = self._page()
            except Exception as error:
                self.faults.append(f"{began}: {error!r}")
            else:
                self.faults += [f"{began}: {one}" for one in _MISSING if one in page]
                self.versions.update(re.findall(r"Reviews served by: reviews-(v\d)", page))
            self.pages += 1

    def _page(self) -> str:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=300)
        try:
            connection.request("GET", "/productpage")
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            raise AssertionError(f"{response.status} {text}")
        return text

    # What it goes on under

    def _upset(self) -> dict[str, str]:
        """
        @return: The certificates when the control plane last came again.
        """
        began = time.monotonic()
        now = nextMode = nextLook = 0.0
        nextKill = min(self._seconds / 3, _LIFE)
        before: dict[str, str] = {}
        while now < self._seconds or (not self._isEnough() and now < self._seconds + _LATE):
            if now >= nextMode:
                nextMode = now + _MODE_LASTS
                self._apply(_MODE.format(mode=_MODES[self.modes % 2]))
                self.modes += 1
            if now >= nextLook:
                nextLook = now + _LOOK
                self.serials.update(self._certificates().values())
            if now >= nextKill:
                nextKill = now + _LIFE
                with self.changes.halted():
                    before = self._kill()
            time.sleep(_TICK)
            now = time.monotonic() - began
        return before

    def _isEnough(self) -> bool:
        """
        Whether so much was seen that it tells something.
        """
        return self.pages > self._seconds and len(self.versions) == 3

    def _change(self, number: int) -> None:
        self._apply(_CHANGING.format(version=f"v{1 + number % 3}", seconds=5 + number % 2))

    def _apply(self, text: str) -> None:
        status, told = call(self._rest, "POST", "/v1/apply", text.encode(), "application/yaml")
        if status != 200:
            raise AssertionError(f"{status} {told.decode()}")
        self._revision = max(self._revision, json.loads(told)["revision"])

    def _certificates(self) -> dict[str, str]:
        """
        The serial number of each identity's newest certificate.
        """
        told = json.loads(call(self._rest, "GET", "/v1/ca/certificates")[1])["certificates"]
        return {one["identity"]: one["serial"] for one in told}

    def _areOthers(self, before: dict[str, str]) -> bool:
        """
        Whether everybody has another certificate.
        """
        now = self._certificates()
        self.serials.update(now.values())
        return all(now.get(identity) not in (None, serial) for identity, serial in before.items())

    def _kill(self) -> dict[str, str]:
        """
        Kill the control plane, and wait until it is there again, with certificates for all.
        """
        (control,) = [one for one in children(self._demo) if _isControlPlane(one)]
        os.kill(control, signal.SIGKILL)
        self.kills += 1
        # It remembers what it signed since it began.
        until(lambda: self._isThere() and len(self._certificates()) == 5, "the control plane", 60.0)
        newest = json.loads(call(self._rest, "GET", "/v1/history?limit=1")[1])["commits"][0]["revision"]
        if newest < self._revision:
            raise AssertionError(f"revision {self._revision} was acknowledged, and {newest} is the newest that is left")
        return self._certificates()

    def _isThere(self) -> bool:
        """
        Whether the control plane answers.
        """
        try:
            return call(self._rest, "GET", "/v1/proxies")[0] == 200
        except OSError:
            return False


def _isControlPlane(process: int) -> bool:
    return b"control" in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
