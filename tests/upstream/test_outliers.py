"""
Tests for L{meshproxy.upstream.outliers}.
"""

from __future__ import annotations

import json
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import loadBootstrap, sectionFromYAML
from meshproxy.errors import ConfigErrors
from meshproxy.headers import ResponseHeaders
from meshproxy.net.address import Address
from meshproxy.runtime import Runtime
from meshproxy.stats import Store
from meshproxy.testing.logs import MemoryLogFiles
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.healthflags import HealthFlag
from meshproxy.upstream.outliers import Detector, OutlierSettings, Rates, compileOutliers, openOutlierLog


class OutlierCase(SynchronousTestCase):
    """
    Ten endpoints, and somebody who looks for outliers.
    """

    def setUp(self) -> None:
        self.store, self.clock = Store(), Clock()
        self.changes = 0
        self.chance = 0.0
        self.endpoints = [Endpoint(Address("192.0.2.1", port)) for port in range(1, 11)]

    def make(self, text: str = "{}", runtime: Runtime | None = None) -> Detector:
        """
        From an C{OutlierDetection} in YAML.
        """
        section = sectionFromYAML("envoy.config.cluster.v3.Cluster", f"{{name: c, outlier_detection: {text}}}")
        scope = self.store.scope("cluster.c.")
        made = compileOutliers(section, scope, self.clock, lambda: self.chance, runtime, self.changed)
        section.report.raiseIfAny()
        assert made is not None
        made.watch(self.endpoints)
        made.start()
        self.addCleanup(made.stop)
        self.detector = made
        return made

    def changed(self) -> None:
        """
        The cluster is to choose anew.
        """
        self.changes += 1

    def counted(self, name: str) -> int:
        """
        A figure.
        """
        found = {**self.store.counters, **self.store.gauges}[f"cluster.c.outlier_detection.{name}"]
        return int(found.value)

    def ejected(self) -> list[int]:
        """
        Who is left out.
        """
        return [number for number, each in enumerate(self.endpoints) if each.flags & HealthFlag.FAILED_OUTLIER_CHECK]

    def answer(self, number: int, *statuses: int) -> None:
        """
        One answers.
        """
        for status in statuses:
            self.endpoints[number].responded(status)


class ConsecutiveTests(OutlierCase):
    """
    Failures in a row.
    """

    def test_ejected(self) -> None:
        """
        After five of them one is left out, and the cluster chooses among the others; what it answers after that does
        not count.
        """
        self.make()
        self.answer(0, 500, 500, 500, 500)
        self.assertEqual((self.ejected(), self.changes), ([], 0))
        self.answer(0, 500)
        self.assertEqual((self.ejected(), self.changes, self.endpoints[0].healthy), ([0], 1, False))
        self.answer(0, *[500] * 10)
        names = ("detected_consecutive_5xx", "enforced_consecutive_5xx", "enforced_total", "active", "overflow")
        self.assertEqual([self.counted(f"ejections_{name}") for name in names], [1, 1, 1, 1, 0])

    def test_forgotten(self) -> None:
        """
        A good answer forgets them; its counters go on.
        """
        self.make()
        for _ in range(3):
            self.answer(0, 500, 500, 500, 500, 200, 404)
        self.assertEqual(self.ejected(), [])
        endpoint = self.endpoints[0]
        self.assertEqual((endpoint.rqSuccess.value, endpoint.rqError.value), (6, 12))
        self.assertEqual(type(endpoint.rqSuccess), type(Endpoint(Address("/x")).rqSuccess))

    def test_gateway(self) -> None:
        """
        Those of a gateway count by themselves as well, and any other answer forgets them.
        """
        self.make("{consecutive_5xx: 100, consecutive_gateway_failure: 3, enforcing_consecutive_gateway_failure: 100}")
        self.answer(0, 502, 503, 500, 504, 503)
        self.assertEqual(self.ejected(), [])
        self.answer(0, 502)
        self.assertEqual((self.ejected(), self.counted("ejections_enforced_consecutive_gateway_failure")), ([0], 1))

    def test_notEnforced(self) -> None:
        """
        By default those of a gateway are only told; and what is enforced by chance is by chance.
        """
        self.make("{enforcing_consecutive_5xx: 50}")
        self.chance = 0.5
        self.answer(0, *[503] * 5)
        self.assertEqual((self.ejected(), self.counted("ejections_detected_consecutive_gateway_failure")), ([], 1))
        self.chance = 0.49
        self.answer(0, *[503] * 5)
        self.assertEqual((self.ejected(), self.counted("ejections_detected_consecutive_5xx")), ([0], 2))

    def test_broken(self) -> None:
        """
        What does not get there, or is late, is like an answer of a gateway.
        """
        self.make()
        for status in (503, 504, 503, 504, 503):
            self.endpoints[0].broke(status)
        self.assertEqual((self.ejected(), self.counted("ejections_detected_consecutive_gateway_failure")), ([0], 1))

    def test_split(self) -> None:
        """
        It may count by itself; who gets there forgets it, and answers do not count with it.
        """
        self.make("{split_external_local_origin_errors: true, consecutive_local_origin_failure: 3}")
        endpoint = self.endpoints[0]
        endpoint.broke()
        endpoint.broke()
        endpoint.rqTotal.value += 1
        self.answer(0, 500, 500, 500, 500)
        endpoint.broke()
        endpoint.broke()
        self.assertEqual(self.ejected(), [])
        endpoint.broke()
        self.assertEqual(
            (self.ejected(), self.counted("ejections_enforced_consecutive_local_origin_failure")), ([0], 1)
        )

    def test_connections(self) -> None:
        """
        A connection whose bytes nobody looks at forgets failures.
        """
        self.make()
        monitor = self.endpoints[0].monitor
        assert monitor is not None
        for _ in range(4):
            self.endpoints[0].broke()
        monitor.connected()
        self.endpoints[0].broke()
        self.assertEqual(self.ejected(), [])

    def test_matcher(self) -> None:
        """
        The cluster may say what is a failure: its own counters say nothing then, but who breaks off does.
        """
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        header = {"name": ":status", "string_match": {"exact": "404"}}
        never = {"and_match": {"rules": [{"any_match": True}, {"not_match": {"any_match": True}}]}}
        matcher = {"or_match": {"rules": [{"http_response_headers_match": {"headers": [header]}}, never]}}
        held = {
            "@type": f"type.googleapis.com/{options}",
            "explicit_http_config": {"http_protocol_options": {}},
            "outlier_detection": {"error_matcher": matcher},
        }
        told = {"outlier_detection": {"max_ejection_percent": 100}, "typed_extension_protocol_options": {options: held}}
        section = sectionFromYAML("envoy.config.cluster.v3.Cluster", json.dumps({"name": "c", **told}))
        made = compileOutliers(section, self.store.scope("cluster.c."), self.clock, lambda: 0.0, None, self.changed)
        assert made is not None
        made.watch(self.endpoints)
        self.addCleanup(made.stop)
        self.answer(0, *[500] * 10)
        for status, times in ((500, 4), (404, 4), (100, 1), (200, 1), (404, 4)):
            for _ in range(times):
                made.responded(self.endpoints[1], ResponseHeaders(status))
        self.assertEqual(self.ejected(), [])
        made.responded(self.endpoints[1], ResponseHeaders(404))
        for _ in range(5):
            self.endpoints[2].broke()
        self.assertEqual(self.ejected(), [1, 2])

    def test_most(self) -> None:
        """
        No more are left out than may be, except for the first one where it is always.
        """
        self.make("{max_ejection_percent: 25}")
        for number in range(4):
            self.answer(number, *[500] * 5)
        self.assertEqual((self.ejected(), self.counted("ejections_overflow")), ([0, 1], 2))
        self.detector.stop()
        self.assertEqual(self.counted("ejections_active"), 0)
        for text, expected in (("{max_ejection_percent: 5}", []), ("{always_eject_one_host: true}", [0])):
            self.endpoints = [Endpoint(Address("192.0.2.2", port)) for port in range(1, 4)]
            self.make(text)
            self.answer(0, *[500] * 5)
            self.assertEqual(self.ejected(), expected, text)

    def test_gone(self) -> None:
        """
        Who is gone is counted no more, and not looked at.
        """
        self.make()
        first = self.endpoints[0]
        self.answer(0, *[500] * 5)
        self.detector.watch(self.endpoints[1:])
        self.assertEqual((self.counted("ejections_active"), first.monitor), (0, None))
        first.responded(500)


class ReturnTests(OutlierCase):
    """
    How long one is left out.
    """

    def isBackAfter(self) -> float:
        """
        Leave the first one out, and tell when it is back.
        """
        self.answer(0, *[500] * 5)
        self.assertEqual(self.ejected(), [0])
        began = self.clock.seconds()
        while self.ejected():
            self.clock.advance(1)
        return self.clock.seconds() - began

    def test_longer(self) -> None:
        """
        Longer each time, and not for longer than the most; who does well for some intervals is trusted again.
        """
        self.make("{base_ejection_time: 10s, max_ejection_time: 30s, interval: 5s}")
        self.assertEqual([self.isBackAfter() for _ in range(4)], [10, 20, 30, 30])
        self.clock.pump([5.0] * 20)
        self.assertEqual(self.isBackAfter(), 10)
        self.assertEqual(self.counted("ejections_enforced_total"), 5)

    def test_jitter(self) -> None:
        """
        Not all come back at once.
        """
        self.make("{base_ejection_time: 10s, interval: 1s, max_ejection_time_jitter: 4s}")
        self.chance = 0.75
        self.assertEqual(self.isBackAfter(), 13)

    def test_anew(self) -> None:
        """
        Who is back begins anew.
        """
        self.make("{consecutive_gateway_failure: 7, enforcing_consecutive_gateway_failure: 100}")
        self.answer(0, *[503] * 6)
        self.clock.pump([10.0] * 3)
        self.assertEqual(self.ejected(), [])
        self.answer(0, 503, 503, 503, 503)
        self.assertEqual(self.ejected(), [])

    def test_checkPassed(self) -> None:
        """
        An active health check has one back at once, unless it is not to.
        """
        for text, expected in (("{}", []), ("{successful_active_health_check_uneject_host: false}", [0])):
            self.endpoints = [Endpoint(Address("192.0.2.2", port)) for port in range(1, 11)]
            self.make(text)
            self.detector.checkPassed(self.endpoints[0])
            self.answer(0, *[500] * 5)
            self.detector.checkPassed(self.endpoints[0])
            self.assertEqual(self.ejected(), expected)

    def test_runtime(self) -> None:
        """
        Numbers may be others at run time.
        """
        runtime = Runtime()
        self.make(runtime=runtime)
        runtime.update(
            sectionFromYAML(
                "envoy.config.bootstrap.v3.LayeredRuntime",
                "{layers: [{name: a, static_layer: {outlier_detection.consecutive_5xx: 2,"
                " outlier_detection.base_ejection_time_ms: 5000}}]}",
            )
        )
        self.answer(0, 500, 500)
        self.assertEqual(self.ejected(), [0])
        self.clock.advance(10)
        self.assertEqual(self.ejected(), [])


class RateTests(OutlierCase):
    """
    Shares of successes.
    """

    def test_successRate(self) -> None:
        """
        Who is far below the others in an interval is left out.
        """
        self.make("{consecutive_5xx: 1000, max_ejection_percent: 50}")
        for number in range(5):
            good = 20 if number == 0 else 100
            self.answer(number, *[200] * good, *[500] * (100 - good))
        self.clock.advance(10)
        self.assertEqual((self.ejected(), self.counted("ejections_enforced_success_rate")), ([0], 1))
        # The others had no request.
        rates = self.detector.rates
        self.assertEqual((rates.average, round(rates.threshold, 3)), (84.0, 23.2))
        self.assertEqual([self.rate(number) for number in (0, 1, 5)], [20.0, 100.0, -1.0])
        self.clock.advance(10)
        self.assertEqual((self.detector.rates, self.rate(1)), (Rates(), -1.0))

    def rate(self, number: int) -> float:
        """
        The share of one.
        """
        monitor = self.endpoints[number].monitor
        assert monitor is not None
        return monitor.successRate

    def test_tooLittle(self) -> None:
        """
        Too few requests, or too few endpoints with enough, tell nothing.
        """
        self.make("{consecutive_5xx: 1000, max_ejection_percent: 100}")
        for number in range(4):
            self.answer(number, *([500] * 100 if number == 0 else [200] * 100))
        self.answer(4, *[200] * 99)
        self.clock.advance(10)
        self.assertEqual((self.ejected(), self.detector.rates), ([], Rates()))

    def test_failurePercentage(self) -> None:
        """
        Who fails too often at all is left out, where that is enforced.
        """
        text = "{consecutive_5xx: 1000, enforcing_success_rate: 0, max_ejection_percent: 100, "
        self.make(text + "enforcing_failure_percentage: 100, failure_percentage_threshold: 60}")
        for number in range(6):
            bad = 40 if number < 2 else 20
            self.answer(number, *[500] * bad, *[200] * (60 - bad))
        self.clock.advance(10)
        self.assertEqual((self.ejected(), self.counted("ejections_enforced_failure_percentage")), ([0, 1], 2))

    def test_localOrigin(self) -> None:
        """
        The way to them counts by itself.
        """
        text = "split_external_local_origin_errors: true, consecutive_local_origin_failure: 1000"
        self.make(f"{{{text}, max_ejection_percent: 100, success_rate_request_volume: 50}}")
        for number, endpoint in enumerate(self.endpoints[:5]):
            for _ in range(50):
                endpoint.rqTotal.value += number != 0
                if number == 0:
                    endpoint.broke()
        self.clock.advance(10)
        self.assertEqual((self.ejected(), self.counted("ejections_enforced_local_origin_success_rate")), ([0], 1))
        self.assertEqual(self.detector.localRates.average, 80.0)
        self.assertEqual(self.detector.rates, Rates())


class EventTests(OutlierCase):
    """
    The log.
    """

    def test_lines(self) -> None:
        """
        A line for each that is found and for each that is back.
        """
        files = MemoryLogFiles(cast(Any, self.clock))
        text = "{cluster_manager: {outlier_detection: {event_log_path: /events}}}"
        log = openOutlierLog(sectionFromYAML("envoy.config.bootstrap.v3.Bootstrap", text), files)
        section = sectionFromYAML(
            "envoy.config.cluster.v3.Cluster",
            "{name: c, outlier_detection: {consecutive_5xx: 1, interval: 1s, base_ejection_time: 1s,"
            " max_ejection_percent: 100, success_rate_minimum_hosts: 2, success_rate_request_volume: 1,"
            " success_rate_stdev_factor: 500, enforcing_consecutive_5xx: 0}}",
        )
        scope = self.store.scope("cluster.c.")
        made = compileOutliers(section, scope, self.clock, lambda: 0.5, None, self.changed, log)
        assert made is not None
        made.watch(self.endpoints)
        made.start()
        self.addCleanup(made.stop)
        self.answer(0, 500)
        self.answer(1, 200)
        self.clock.advance(1)
        self.clock.advance(1)
        events = [json.loads(line) for line in files.lines("/events")]
        self.assertEqual(
            [(each["type"], each["action"], each["enforced"], each["num_ejections"]) for each in events],
            [
                ("CONSECUTIVE_5XX", "EJECT", False, 0),
                ("SUCCESS_RATE", "EJECT", True, 1),
                ("CONSECUTIVE_5XX", "UNEJECT", False, 1),
            ],
        )
        self.assertEqual(
            events[1]["eject_success_rate_event"],
            {
                "host_success_rate": 0,
                "cluster_average_success_rate": 50,
                "cluster_success_rate_ejection_threshold": 25,
            },
        )
        self.assertEqual((events[2]["secs_since_last_action"], events[2]["upstream_url"]), ("1", "192.0.2.1:1"))

    def test_none(self) -> None:
        """
        Without a path there is none.
        """
        bootstrap = sectionFromYAML("envoy.config.bootstrap.v3.Bootstrap", "{}")
        self.assertIsNone(openOutlierLog(bootstrap, MemoryLogFiles(cast(Any, self.clock))))


class SettingsTests(OutlierCase):
    """
    What a configuration says.
    """

    def test_defaults(self) -> None:
        """
        Envoy's.
        """
        self.assertEqual(self.make().settings, OutlierSettings())

    def test_maxTime(self) -> None:
        """
        The longest time is no shorter than the first.
        """
        self.assertEqual(self.make("{base_ejection_time: 400s}").settings.max_ejection_time_ms, 400_000)
        error = self.assertRaises(ConfigErrors, self.make, "{base_ejection_time: 40s, max_ejection_time: 30s}")
        self.assertIn("outlier_detection.max_ejection_time: cannot be less than base_ejection_time", str(error))

    def test_none(self) -> None:
        """
        Nobody looks where nobody is to.
        """
        section = sectionFromYAML("envoy.config.cluster.v3.Cluster", "{name: c}")
        made: Any = compileOutliers(section, self.store.scope(), self.clock, lambda: 0.0, None, self.changed)
        self.assertIsNone(made)

    def test_refused(self) -> None:
        """
        What nobody looks for is refused, and not left aside.
        """
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        held = json.dumps(
            {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http_protocol_options": {}},
                "outlier_detection": {"error_matcher": {"http_request_headers_match": {"headers": []}}},
            }
        )
        monitor = '{name: m, typed_config: {"@type": type.googleapis.com/google.protobuf.Struct}}'
        for text, place in (
            ("outlier_detection: {detect_degraded_hosts: true}", "outlier_detection.detect_degraded_hosts: "),
            (f"outlier_detection: {{monitors: [{monitor}]}}", "outlier_detection.monitors: not implemented"),
            (
                f"typed_extension_protocol_options: {{{options}: {held}}}",
                "error_matcher.http_request_headers_match: not implemented",
            ),
        ):
            bootstrap = f"static_resources: {{clusters: [{{name: c, {text}}}]}}"
            error = self.assertRaises(ConfigErrors, loadBootstrap, text=bootstrap)
            self.assertIn(place, str(error))
