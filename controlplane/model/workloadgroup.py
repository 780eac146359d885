# -*- test-case-name: tests.controlplane.model.test_serviceentry -*-
"""
WorkloadGroup: what workloads of one kind have in common.
"""

from __future__ import annotations

import re

from attrs import Factory, field, frozen

from meshproxy.controlplane.model.names import badLabels, badPort
from meshproxy.controlplane.model.resource import Metadata
from meshproxy.controlplane.model.spots import Spot
from meshproxy.controlplane.model.workloadentry import WorkloadEntry

__all__ = [
    "ExecProbe",
    "GRPCProbe",
    "GroupMetadata",
    "HTTPHeader",
    "HTTPProbe",
    "Probe",
    "TCPProbe",
    "WorkloadGroup",
    "checkWorkloadGroup",
]

_UNUSED = {"notProgrammed": "nobody asks; an entry goes when its proxy does"}

#: What Kubernetes takes for the name of a header of a probe.
_HEADER = re.compile(r"[-A-Za-z0-9]+\Z")


@frozen(kw_only=True)
class GroupMetadata:
    """
    The labels and annotations of its workloads.
    """

    labels: dict[str, str] = Factory(dict)
    annotations: dict[str, str] = Factory(dict)


@frozen(kw_only=True)
class HTTPHeader:
    """
    A header of a probe.
    """

    name: str = ""
    value: str = ""


@frozen(kw_only=True)
class HTTPProbe:
    """
    Ready is who answers a request.
    """

    path: str = ""
    port: int = 0
    host: str = ""
    scheme: str = ""
    httpHeaders: list[HTTPHeader] = Factory(list)


@frozen(kw_only=True)
class TCPProbe:
    """
    Ready is who accepts a connection.
    """

    host: str = ""
    port: int = 0


@frozen(kw_only=True)
class ExecProbe:
    """
    Ready is for whom a command succeeds.
    """

    command: list[str] = Factory(list)


@frozen(kw_only=True)
class GRPCProbe:
    """
    Ready is whose health service says so.
    """

    port: int = 0
    service: str = ""


@frozen(kw_only=True)
class Probe:
    """
    Who is ready.
    """

    initialDelaySeconds: int = 0
    timeoutSeconds: int = 0
    periodSeconds: int = 0
    successThreshold: int = 0
    failureThreshold: int = 0
    httpGet: HTTPProbe | None = None
    tcpSocket: TCPProbe | None = None
    exec_: ExecProbe | None = field(default=None, metadata={"key": "exec"})
    grpc: GRPCProbe | None = None


@frozen(kw_only=True)
class WorkloadGroup:
    """
    What workloads of one kind have in common.
    """

    metadata: GroupMetadata | None = None
    template: WorkloadEntry | None = None
    probe: Probe | None = field(default=None, metadata=_UNUSED)


def checkWorkloadGroup(spec: WorkloadGroup, metadata: Metadata, spot: Spot) -> None:
    """
    Tell what is wrong with one.
    """
    spot["template"].require(spec.template if spec.template is not None else "")
    if spec.metadata is not None:
        spot["metadata"]["labels"].judge(badLabels(spec.metadata.labels))
    if spec.probe is not None:
        _checkProbe(spec.probe, spot["probe"])


def _checkProbe(probe: Probe, spot: Spot) -> None:
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        if getattr(probe, name) < 0:
            spot[name].refuse(f"{getattr(probe, name)} is not a count: 0 or more")
    ways = {"httpGet": probe.httpGet, "tcpSocket": probe.tcpSocket, "exec": probe.exec_, "grpc": probe.grpc}
    given = [name for name, value in ways.items() if value is not None]
    if not given:
        spot.refuse(f"one of {', '.join(ways)} is required", "required")
    elif len(given) > 1:
        spot[given[1]].refuse(f"only one of {', '.join(ways)} may be set, not {' and '.join(given)}", "exclusive")
    for name in ("httpGet", "tcpSocket", "grpc"):
        way = ways[name]
        if isinstance(way, (HTTPProbe, TCPProbe, GRPCProbe)):
            spot[name]["port"].judge(badPort(way.port))
    if probe.exec_ is not None:
        spot["exec"]["command"].require(probe.exec_.command)
    if probe.httpGet is not None:
        here = spot["httpGet"]
        if probe.httpGet.scheme not in ("", "HTTP", "HTTPS"):
            here["scheme"].refuse(f"{probe.httpGet.scheme!r} is neither HTTP nor HTTPS")
        for index, header in enumerate(probe.httpGet.httpHeaders):
            if _HEADER.match(header.name) is None:
                here["httpHeaders"][index]["name"].refuse(f"{header.name!r} is not the name of a header")
