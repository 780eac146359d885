"""
L{meshproxy.upstream.healthflags}, and what an endpoint makes of them.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.address import Address
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.healthflags import HealthFlag, flagsOfStatus, flagsText


class HealthFlagTests(SynchronousTestCase):
    """
    Flags.
    """

    def judged(self, *flags: HealthFlag, status: str = "UNKNOWN") -> tuple[bool, bool, bool]:
        """
        Whether an endpoint is healthy, degraded and excluded.
        """
        endpoint = Endpoint(Address("192.0.2.1", 80), healthStatus=status)
        for flag in flags:
            endpoint.flags |= flag
        endpoint.judge()
        return endpoint.healthy, endpoint.isDegraded, endpoint.isExcluded

    def test_judge(self) -> None:
        """
        Any failure fails it; what is degraded is healthy, unless it failed too; exclusion is apart.
        """
        self.assertEqual(self.judged(), (True, False, False))
        self.assertEqual(self.judged(HealthFlag.FAILED_ACTIVE_HC), (False, False, False))
        self.assertEqual(self.judged(HealthFlag.FAILED_OUTLIER_CHECK), (False, False, False))
        self.assertEqual(self.judged(HealthFlag.DEGRADED_ACTIVE_HC), (True, True, False))
        self.assertEqual(self.judged(HealthFlag.DEGRADED_ACTIVE_HC, status="UNHEALTHY"), (False, False, False))
        self.assertEqual(self.judged(HealthFlag.PENDING_DYNAMIC_REMOVAL), (True, False, False))
        pending = HealthFlag.FAILED_ACTIVE_HC, HealthFlag.PENDING_ACTIVE_HC
        self.assertEqual(self.judged(*pending), (False, False, True))
        self.assertEqual(self.judged(status="DRAINING"), (False, False, True))
        self.assertEqual(self.judged(status="DEGRADED"), (True, True, False))

    def test_text(self) -> None:
        """
        Words stand in the order of the flags.
        """
        both = HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL | HealthFlag.FAILED_ACTIVE_HC
        self.assertEqual(flagsText(both), "/failed_active_hc/excluded_via_immediate_hc_fail")
        self.assertEqual(flagsText(0), "healthy")
        self.assertEqual(flagsText(flagsOfStatus("TIMEOUT")), "/failed_eds_health")
