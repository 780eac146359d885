# -*- test-case-name: tests.controlplane.test_metrics -*-
"""
What the control plane counts, over HTTP.
"""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.api.replies import Reply
from meshproxy.controlplane.api.router import Operation, Router

__all__ = ["METRICS", "addMetrics"]

METRICS = "text/plain; version=0.0.4; charset=utf-8"


def addMetrics(router: Router, text: Callable[[], bytes]) -> None:
    """
    C{GET /metrics}.
    """

    async def metrics(call: Call) -> Reply:
        return Reply(text(), contentType=METRICS)

    told = "What the control plane counts, in Prometheus' text format"
    router.add(Operation("GET", "/metrics", metrics, Role.READ, told, group="metrics"))
