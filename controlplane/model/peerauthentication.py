# -*- test-case-name: tests.controlplane.model.test_security -*-
"""
PeerAuthentication: whether workloads ask for mutual TLS.
"""

from __future__ import annotations

from typing import Literal

from attrs import Factory, frozen

from meshproxy.controlplane.model.common import LabelSelector, checkLabelSelector
from meshproxy.controlplane.model.resource import Metadata
from meshproxy.controlplane.model.spots import Spot

__all__ = ["MutualTLS", "PeerAuthentication", "checkPeerAuthentication"]


@frozen(kw_only=True)
class MutualTLS:
    """
    Whether it is asked for.
    """

    mode: Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"] = "UNSET"


@frozen(kw_only=True)
class PeerAuthentication:
    """
    Whether some workloads ask for mutual TLS.
    """

    selector: LabelSelector | None = None
    mtls: MutualTLS | None = None
    portLevelMtls: dict[str, MutualTLS] = Factory(dict)


def checkPeerAuthentication(spec: PeerAuthentication, metadata: Metadata, spot: Spot) -> None:
    """
    Tell what is wrong with one.
    """
    checkLabelSelector(spec.selector, spot)
    if spec.portLevelMtls and (spec.selector is None or not spec.selector.matchLabels):
        spot["portLevelMtls"].refuse("needs a selector: ports are of workloads", "exclusive")
    for port in spec.portLevelMtls:
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
            spot["portLevelMtls"][port].refuse(f"{port!r} is not a port: 1 to 65535")
