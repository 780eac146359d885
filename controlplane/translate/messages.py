# -*- test-case-name: tests.controlplane.translate.test_proxy -*-
"""
Dictionaries in protobuf's JSON form to messages, and the small pieces that many messages are made of.
"""

from __future__ import annotations

from ipaddress import ip_interface
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.json_format import ParseDict

from meshproxy.config.pool import TYPE_URL_PREFIX, descriptorPool, newMessage

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from meshproxy.controlplane.model.resource import Key

__all__ = [
    "ADS",
    "CLUSTER",
    "ENDPOINTS",
    "JSON",
    "LISTENER",
    "ROUTES",
    "SECRET",
    "address",
    "cidr",
    "duration",
    "messageOf",
    "origin",
    "share",
    "typed",
    "without",
]

#: A message in protobuf's JSON form.
JSON: TypeAlias = dict[str, Any]

LISTENER = "envoy.config.listener.v3.Listener"
ROUTES = "envoy.config.route.v3.RouteConfiguration"
CLUSTER = "envoy.config.cluster.v3.Cluster"
ENDPOINTS = "envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"

#: From the stream that the resource itself came by. No time-out: what is late is waited for, not done without.
ADS: JSON = {"ads": {}, "resourceApiVersion": "V3", "initialFetchTimeout": "0s"}


def messageOf(typeName: str, value: JSON) -> Message:
    """
    A message of the private pool.

    @raise google.protobuf.json_format.ParseError: If the dictionary is not of that type: a mistake of this program.
    """
    return ParseDict(value, newMessage(typeName), descriptor_pool=descriptorPool())


def typed(typeName: str, value: JSON | None = None) -> JSON:
    """
    A C{google.protobuf.Any}.
    """
    return {"@type": TYPE_URL_PREFIX + typeName, **(value or {})}


def duration(seconds: float) -> str:
    """
    A C{google.protobuf.Duration}.
    """
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def address(host: str, port: int) -> JSON:
    """
    A C{envoy.config.core.v3.Address}.
    """
    if host.startswith("unix://"):
        return {"pipe": {"path": host.removeprefix("unix://")}}
    return {"socketAddress": {"address": host, "portValue": port}}


def cidr(text: str) -> JSON:
    """
    A C{envoy.config.core.v3.CidrRange}: an address is a range of one.
    """
    interface = ip_interface(text)
    return {"addressPrefix": text.partition("/")[0], "prefixLen": interface.network.prefixlen}


def share(percent: float) -> JSON:
    """
    A C{envoy.type.v3.FractionalPercent}, as fine as it can be.
    """
    return {"numerator": round(percent * 10000), "denominator": "MILLION"}


def without(value: JSON) -> JSON:
    """
    A dictionary without what is not set.
    """
    return {key: held for key, held in value.items() if held is not None and held != [] and held != {}}


def origin(key: Key, word: str) -> str:
    """
    How metadata name the resource that a part of the configuration comes from, as Istio has it.

    @param word: Istio's word for the kind: C{virtual-service}.
    """
    return f"/apis/{key.group}/v1/namespaces/{key.namespace}/{word}/{key.name}"
