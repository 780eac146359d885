"""
L{meshproxy.upstream.healthchecks.events}.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from meshproxy.testing import Answer
from tests.upstream.healthchecks.support import CheckedCase, httpCheck

_SINK = "type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"


class EventTests(CheckedCase):
    """
    What is logged.
    """

    def run_(self, *answers: Answer, path: str = "", **fields: Any) -> list[dict[str, Any]]:
        """
        The events of a cluster whose endpoint answers so.
        """
        path = path or self.mktemp()
        backend = self.backend()
        backend.answer(*answers)
        sink = {"name": "file", "typed_config": {"@type": _SINK, "event_log_path": path}}
        cluster = self.make(httpCheck({"event_logger": [sink], **fields}))
        for _ in answers:
            self.reactor.advance(10.0)
        cluster.drain()
        self.reactor.settle()
        return [json.loads(line) for line in Path(path).read_text().splitlines()]

    def kinds(self, *answers: Answer, **fields: Any) -> list[tuple[str, Any]]:
        """
        What happened, without the facts that each event has.
        """
        common = {"health_checker_type", "host", "cluster_name", "timestamp", "metadata", "locality"}
        return [
            (name, facts)
            for event in self.run_(*answers, **fields)
            for name, facts in event.items()
            if name not in common
        ]

    def test_fields(self) -> None:
        """
        A line has Envoy's fields, in their order.
        """
        path = self.mktemp()
        self.run_(Answer(), path=path)
        self.assertEqual(
            Path(path).read_text(),
            '{"health_checker_type":"HTTP","host":{"socket_address":{"protocol":"TCP","address":"192.0.2.1",'
            '"port_value":80,"resolver_name":"","ipv4_compat":false,"network_namespace_filepath":""}},'
            '"cluster_name":"c","add_healthy_event":{"first_check":true},"timestamp":"2027-01-15T08:00:00Z",'
            '"locality":{"region":"","zone":"","sub_zone":""}}\n',
        )

    def test_changes(self) -> None:
        """
        Each change is an event.
        """
        degraded = Answer(headers=[(b"x-envoy-degraded", b"")])
        self.assertEqual(
            self.kinds(Answer(), Answer(503), Answer(), Answer(), degraded, degraded, Answer()),
            [
                ("add_healthy_event", {"first_check": True}),
                ("eject_unhealthy_event", {"failure_type": "ACTIVE", "http_status_code": 503}),
                ("add_healthy_event", {"first_check": False}),
                ("degraded_healthy_host", {}),
                ("no_longer_degraded_host", {}),
            ],
        )

    def test_first(self) -> None:
        """
        A first failure is one, too.
        """
        self.assertEqual(
            self.kinds(Answer.close(), Answer.close()),
            [
                ("health_check_failure_event", {"failure_type": "NETWORK", "first_check": True, "http_status_code": 0}),
            ],
        )

    def test_all(self) -> None:
        """
        All checks may be logged.
        """
        found = self.kinds(
            Answer(503),
            Answer(503),
            Answer(),
            Answer(),
            Answer(),
            always_log_health_check_failures=True,
            always_log_health_check_success=True,
        )
        self.assertEqual(
            [name for name, _ in found][:5],
            [
                "health_check_failure_event",
                "health_check_failure_event",
                "successful_health_check_event",
                "add_healthy_event",
                "successful_health_check_event",
            ],
        )

    def test_older(self) -> None:
        """
        The older field names a file, too; one that cannot be written is refused.
        """
        path = self.mktemp()
        self.backend()
        self.make(httpCheck({"event_log_path": path})).drain()
        self.reactor.settle()
        self.assertIn("add_healthy_event", Path(path).read_text())
        refused = self.refused(httpCheck({"event_log_path": "/no/such/folder/x"}))
        self.assertIn("event_log_path: cannot open '/no/such/folder/x'", refused)

    def test_otherSinks(self) -> None:
        """
        Nothing but files is written to.
        """
        other = {"@type": "type.googleapis.com/envoy.config.core.v3.Pipe", "path": "x"}
        refused = self.refused(httpCheck({"event_logger": [{"name": "x", "typed_config": other}]}))
        self.assertIn("of the sinks of health check events, only the file", refused)
