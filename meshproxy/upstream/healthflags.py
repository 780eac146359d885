# -*- test-case-name: tests.upstream.test_healthflags -*-
"""
What is known against an endpoint, each by itself: whoever looks after its health sets its own flags and no other's.

Values and words are Envoy's (C{Host::HealthFlag}, C{/clusters}).
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final

__all__ = ["DEGRADED", "EXCLUDED", "FAILED", "HealthFlag", "flagsOfStatus", "flagsText"]


class HealthFlag(IntFlag):
    """
    Why an endpoint is not wholly healthy.
    """

    FAILED_ACTIVE_HC = 0x1
    FAILED_OUTLIER_CHECK = 0x2
    FAILED_EDS_HEALTH = 0x4
    DEGRADED_ACTIVE_HC = 0x8
    DEGRADED_EDS_HEALTH = 0x10
    PENDING_DYNAMIC_REMOVAL = 0x20
    PENDING_ACTIVE_HC = 0x40
    EXCLUDED_VIA_IMMEDIATE_HC_FAIL = 0x80
    ACTIVE_HC_TIMEOUT = 0x100
    EDS_STATUS_DRAINING = 0x200
    DEGRADED_OUTLIER_DETECTION = 0x400


#: Each of these takes an endpoint from the healthy ones.
FAILED: Final = int(
    HealthFlag.FAILED_ACTIVE_HC
    | HealthFlag.FAILED_OUTLIER_CHECK
    | HealthFlag.FAILED_EDS_HEALTH
    | HealthFlag.EDS_STATUS_DRAINING
)
#: Each of these lets one that is not failed be chosen last.
DEGRADED: Final = int(
    HealthFlag.DEGRADED_ACTIVE_HC | HealthFlag.DEGRADED_EDS_HEALTH | HealthFlag.DEGRADED_OUTLIER_DETECTION
)
#: Each of these leaves it out where it is counted how many there are.
EXCLUDED: Final = int(
    HealthFlag.PENDING_ACTIVE_HC | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL | HealthFlag.EDS_STATUS_DRAINING
)

_OF_STATUS: Final = {
    "UNHEALTHY": int(HealthFlag.FAILED_EDS_HEALTH),
    "TIMEOUT": int(HealthFlag.FAILED_EDS_HEALTH),
    "DRAINING": int(HealthFlag.EDS_STATUS_DRAINING),
    "DEGRADED": int(HealthFlag.DEGRADED_EDS_HEALTH),
}


def flagsOfStatus(status: str) -> int:
    """
    The flags of a C{core.v3.HealthStatus}, by its name.
    """
    return _OF_STATUS.get(status, 0)


def flagsText(flags: int) -> str:
    """
    As C{/clusters} shows them.
    """
    return "".join(f"/{flag.name}".lower() for flag in HealthFlag if flags & flag) or "healthy"
