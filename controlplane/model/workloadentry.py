# -*- test-case-name: tests.controlplane.model.test_serviceentry -*-
"""
WorkloadEntry: a running instance of a service, with its address.
"""

from __future__ import annotations

from collections.abc import Collection

from attrs import Factory, frozen

from meshproxy.controlplane.model.names import badFQDN, badLabel, badLabels, badPort, badUnixPath, isAddress
from meshproxy.controlplane.model.resource import Metadata
from meshproxy.controlplane.model.spots import Spot

__all__ = ["UNIX", "WorkloadEntry", "checkEntry", "checkWorkloadEntry"]

#: What the address of a unix socket begins with.
UNIX = "unix://"


@frozen(kw_only=True)
class WorkloadEntry:
    """
    A workload.
    """

    address: str = ""
    ports: dict[str, int] = Factory(dict)
    labels: dict[str, str] = Factory(dict)
    network: str = ""
    locality: str = ""
    weight: int = 0
    serviceAccount: str = ""


def checkWorkloadEntry(spec: WorkloadEntry, metadata: Metadata, spot: Spot) -> None:
    """
    Tell what is wrong with one.
    """
    checkEntry(spec, spot, None, True)


def checkEntry(entry: WorkloadEntry, spot: Spot, ports: Collection[str] | None, names: bool) -> None:
    """
    Tell what is wrong with a workload, or with an endpoint of a ServiceEntry.

    @param ports: The names of the ports of the service, where that is known.
    @param names: Whether the address may be a host name.
    """
    here = spot["address"]
    if not entry.address:
        if not entry.network:
            here.require("")
            return
        here.warn(f"without an address it is reached through the gateway of the network {entry.network!r}")
    elif entry.address.startswith(UNIX):
        here.judge(badUnixPath(entry.address.removeprefix(UNIX)))
        if entry.ports:
            spot["ports"].refuse("a unix socket has no ports", "exclusive")
        if ports is not None and len(ports) != 1:
            here.refuse("a unix socket is for a service with exactly one port")
    elif not isAddress(entry.address) and (not names or badFQDN(entry.address)):
        here.refuse(f"{entry.address!r} is not an IP address{', nor a host name' if names else ''}")
    for name, number in entry.ports.items():
        one = spot["ports"][name]
        if ports is not None and name not in ports:
            one.refuse(f"{name!r} is not a port of the service", wanted=name, known=ports)
        one.judge(badLabel(name, "name of a port"))
        one.judge(badPort(number))
    spot["labels"].judge(badLabels(entry.labels))
    if entry.weight < 0:
        spot["weight"].refuse(f"{entry.weight} is not a weight: 0 or more")
