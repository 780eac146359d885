# -*- test-case-name: tests.controlplane.model.test_destinationrule -*-
"""
DestinationRule: how a service is called, once a route has chosen it.
"""

from __future__ import annotations

from attrs import Factory, frozen

from meshproxy.controlplane.model.common import LabelSelector, checkExportTo, checkSelector
from meshproxy.controlplane.model.names import badDomain, badLabel, badLabels
from meshproxy.controlplane.model.policychecks import checkTrafficPolicy
from meshproxy.controlplane.model.resource import Metadata
from meshproxy.controlplane.model.spots import Spot
from meshproxy.controlplane.model.trafficpolicy import TrafficPolicy

__all__ = ["DestinationRule", "Subset", "checkDestinationRule"]


@frozen(kw_only=True)
class Subset:
    """
    Some of the endpoints of a service, by their labels.
    """

    name: str = ""
    labels: dict[str, str] = Factory(dict)
    trafficPolicy: TrafficPolicy | None = None


@frozen(kw_only=True)
class DestinationRule:
    """
    How a service is called.
    """

    host: str = ""
    trafficPolicy: TrafficPolicy | None = None
    subsets: list[Subset] = Factory(list)
    exportTo: list[str] = Factory(list)
    workloadSelector: LabelSelector | None = None


def checkDestinationRule(spec: DestinationRule, metadata: Metadata, spot: Spot) -> None:
    """
    Tell what is wrong with one.
    """
    if spot["host"].require(spec.host):
        spot["host"].judge(badDomain(spec.host))
    if spec.trafficPolicy is not None:
        checkTrafficPolicy(spec.trafficPolicy, spot["trafficPolicy"])
    seen: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        here = spot["subsets"][index]
        if here["name"].require(subset.name):
            here["name"].judge(badLabel(subset.name, "name of a subset"))
            if subset.name in seen:
                here["name"].refuse(f"{subset.name!r} stands twice", "duplicate")
            seen.add(subset.name)
        here["labels"].judge(badLabels(subset.labels))
        if subset.trafficPolicy is not None:
            checkTrafficPolicy(subset.trafficPolicy, here["trafficPolicy"])
    checkExportTo(spec.exportTo, metadata.namespace, spot)
    if spec.workloadSelector is not None:
        checkSelector(spec.workloadSelector.matchLabels, spot["workloadSelector"], "matchLabels")
        if any(entry not in (".", metadata.namespace) for entry in spec.exportTo):
            spot["exportTo"].refuse("a rule for some workloads stays in its namespace: '.'", "exclusive")
