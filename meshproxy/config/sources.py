# -*- test-case-name: tests.config.test_sources -*-
"""
Where configuration comes from (C{ConfigSource}), and what stands in a file that is such a source: a
C{DiscoveryResponse}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshproxy.config.load import checkedSection, readFile
from meshproxy.config.nodes import Node
from meshproxy.config.report import Report
from meshproxy.config.section import Section
from meshproxy.config.walker import Places
from meshproxy.errors import ConfigErrors

__all__ = [
    "ConfigSource",
    "DiscoveryFile",
    "Origin",
    "StreamSource",
    "compileSource",
    "compileStreamSource",
    "readNodes",
    "readResources",
]

_RESPONSE = "envoy.service.discovery.v3.DiscoveryResponse"
_WRAPPER = "envoy.service.discovery.v3.Resource"

_DELTA = ("DELTA_GRPC", "AGGREGATED_DELTA_GRPC")

#: Seconds that Envoy waits for the first response where nothing is said.
_FETCH_TIMEOUT = 15.0


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """
    @ivar path: The file that it comes from; empty for the control plane (C{ads}).
    @ivar timeout: Seconds to wait for the first response; 0 to wait for as long as it takes. Files are read at once.
    """

    path: str = ""
    timeout: float = _FETCH_TIMEOUT


@dataclass(frozen=True, slots=True)
class StreamSource:
    """
    A control plane that is asked by gRPC (C{ApiConfigSource}).

    @ivar cluster: The name of its cluster.
    @ivar isDelta: Which variant is spoken.
    @ivar metadata: Further fields of the requests.
    """

    cluster: str
    authority: str
    isDelta: bool
    metadata: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """
    Where a resource stands in the text that it was read from.
    """

    path: str
    places: Places


@dataclass(frozen=True, slots=True)
class DiscoveryFile:
    """
    What a file says.

    @ivar whole: The response, for what is wrong with it as a whole.
    @ivar resources: By name.
    """

    version: str
    whole: Section
    resources: Mapping[str, Section]


def compileSource(section: Section | None, owner: Section, field: str, hasStream: bool) -> ConfigSource:
    """
    Read a C{ConfigSource}. Faults go to the report.

    @param section: The message, or L{None} where it is not set.
    @param owner: The message that it is the C{field} of.
    @param hasStream: Whether there is a control plane for something to come from by C{ads}.
    """
    if section is None:
        owner.refuse("a source is needed: ads, or path_config_source with the path of a file", field)
        return ConfigSource()
    kind = section.oneof("config_source_specifier")
    timeout = section.seconds("initial_fetch_timeout", _FETCH_TIMEOUT)
    if kind == "ads":
        if not hasStream:
            section.refuse("nothing comes by ads without dynamic_resources.ads_config in the bootstrap", "ads")
        return ConfigSource("", timeout)
    if kind not in ("path", "path_config_source"):
        section.refuse("of the sources, path_config_source (a file) and ads are implemented", kind or "")
        return ConfigSource("", timeout)
    path = section.get("path") if kind == "path" else section.childOrEmpty(kind).get("path")
    if not Path(path).exists():
        # As Envoy, which otherwise would wait for a file whose path may be mistyped.
        section.refuse(f"{path!r} does not exist; a source has to be there from the beginning", kind)
    return ConfigSource(path, timeout)


def compileStreamSource(section: Section, known: Sequence[str]) -> StreamSource | None:
    """
    Read an C{ApiConfigSource}. Faults go to the report.

    @param known: The clusters that may be named: those of the bootstrap, since others come by such a source themselves.
    """
    services = section.children("grpc_services")
    service = services[0].child("envoy_grpc") if services else None
    if service is None or len(services) > 1:
        section.refuse("one service with envoy_grpc is needed", "grpc_services")
        return None
    if services[0].has("timeout"):
        services[0].refuse("a stream has no time-out", "timeout")
    name = service.get("cluster_name")
    if name not in known:
        service.refuse(f"there is no static cluster {name!r}", "cluster_name", known)
    metadata = tuple(
        (one.get("key").lower().encode("latin-1", "replace"), one.get("value").encode("latin-1", "replace"))
        for one in services[0].children("initial_metadata")
    )
    return StreamSource(name, service.get("authority") or name, section.get("api_type") in _DELTA, metadata)


def readResources(path: str, node: Node, typeName: str, report: Report) -> DiscoveryFile:
    """
    The resources in the nodes of a file, held to the constraints of their messages.

    @param typeName: The full name of the messages that there are to be.
    @param report: Takes the faults.

    @raise ConfigErrors: If there are faults.
    """
    response = checkedSection(_RESPONSE, node, report)
    found: dict[str, Section] = {}
    for packed in response.children("resources"):
        resource = packed.unpack()
        if resource is not None and resource.typeName == _WRAPPER:
            # What delta responses wrap their resources into, with a name and a version.
            resource = resource.childOrEmpty("resource").unpack()
        if resource is None:
            packed.refuse(f"holds no resource; it is to be a {typeName}")
            continue
        if resource.typeName != typeName:
            packed.refuse(f"is a {resource.typeName}; this file is to hold {typeName}", "@type")
            continue
        field = "cluster_name" if typeName.endswith("ClusterLoadAssignment") else "name"
        name = resource.get(field)
        if name in found:
            resource.refuse(f"there are two resources of the name {name!r} in {path}", field)
        found[name] = resource
    report.raiseIfAny()
    return DiscoveryFile(response.get("version_info"), response, found)


def readNodes(path: str, report: Report) -> Node:
    """
    The text of a file, as nodes.

    @raise ConfigErrors: If it cannot be read, is not of its format, or is empty.
    """
    node = readFile(Path(path), report)
    if node.value is None:
        raise ConfigErrors([node.place.error("", "holds nothing; it is to be a DiscoveryResponse: {resources: [...]}")])
    return node
