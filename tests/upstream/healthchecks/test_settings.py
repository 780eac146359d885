"""
L{meshproxy.upstream.healthchecks.settings}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.upstream.healthchecks.settings import CheckTimes, compilePayloads, compileTimes, holdsAll


def times(**fields: Any) -> CheckTimes:
    """
    Those of a C{HealthCheck}.
    """
    base = {"timeout": "1s", "interval": "10s", "unhealthy_threshold": 1, "healthy_threshold": 1}
    return compileTimes(Section.of("envoy.config.core.v3.HealthCheck", {**base, **fields}))


def noValue(key: str, default: int) -> int:
    """
    A runtime without values.
    """
    return default


class TimesTests(SynchronousTestCase):
    """
    L{CheckTimes}.
    """

    def pauses(self, made: CheckTimes, hasTraffic: bool = True) -> list[float]:
        """
        After a check that passed and one that failed, each pending or not.
        """
        return [
            made.pause(isWell, isPending, hasTraffic, lambda: 0.5, noValue)
            for isWell in (True, False)
            for isPending in (False, True)
        ]

    def test_defaults(self) -> None:
        """
        What is not said is the interval; without traffic it is a minute.
        """
        self.assertEqual(self.pauses(times()), [10, 10, 10, 10])
        self.assertEqual(self.pauses(times(), False), [60, 60, 60, 60])
        self.assertEqual(self.pauses(times(unhealthy_interval="3s")), [10, 10, 3, 3])

    def test_each(self) -> None:
        """
        Each state has its own interval.
        """
        made = times(
            unhealthy_interval="3s",
            unhealthy_edge_interval="2s",
            healthy_edge_interval="1s",
            no_traffic_interval="7s",
            no_traffic_healthy_interval="8s",
        )
        self.assertEqual(self.pauses(made), [10, 1, 3, 2])
        self.assertEqual(self.pauses(made, False), [8, 7, 7, 7])

    def test_jitter(self) -> None:
        """
        Both kinds of jitter add up.
        """
        made = times(interval_jitter="2s", interval_jitter_percent=10)
        self.assertEqual(self.pauses(made)[0], 10 + 0.5 * 1 + 0.5 * 2)

    def test_runtime(self) -> None:
        """
        The runtime bounds intervals, in milliseconds; nothing makes them 0.
        """
        for least, most, expected in ((20000, 30000, 20.0), (0, 5000, 5.0), (0, 0, 0.001)):
            values = {"health_check.min_interval": least, "health_check.max_interval": most}

            def number(key: str, default: int, values: dict[str, int] = values) -> int:
                return values[key]

            made = times().pause(True, False, True, lambda: 0.0, number)
            self.assertEqual(made, expected)


class PayloadTests(SynchronousTestCase):
    """
    What is sent and received.
    """

    def test_bytes(self) -> None:
        """
        Hexadecimal digits, or bytes; anything else is refused.
        """
        section = Section.of(
            "envoy.config.core.v3.HealthCheck.TcpHealthCheck",
            {"receive": [{"text": "00fF"}, {"binary": "YWI="}, {"text": "0"}, {"text": "00 11"}, {"text": "xy"}]},
        )
        self.assertEqual(compilePayloads(section.children("receive"))[:2], (b"\x00\xff", b"ab"))
        self.assertEqual(
            [str(error) for error in section.report.errors],
            [
                f"receive[{index}].text: invalid hex string '{text}'"
                for index, text in ((2, "0"), (3, "00 11"), (4, "xy"))
            ],
        )

    def test_order(self) -> None:
        """
        All pieces have to be there, one behind the other.
        """
        self.assertTrue(holdsAll(b"xabxcdx", (b"ab", b"cd")))
        self.assertFalse(holdsAll(b"cdab", (b"ab", b"cd")))
        self.assertFalse(holdsAll(b"aba", (b"ab", b"ba")))
        self.assertTrue(holdsAll(b"", ()))
