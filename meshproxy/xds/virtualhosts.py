# -*- test-case-name: tests.xds.test_virtualhosts -*-
"""
Virtual hosts that come apart from their route configuration (VHDS). What is served is both together.

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from meshproxy.config.pool import messageClass, newMessage
from meshproxy.xds.client import Update
from meshproxy.xds.remembered import remembered
from meshproxy.xds.types import ROUTES

__all__ = ["VirtualHosts", "configurationOf"]

_ROUTES = "envoy.config.route.v3.RouteConfiguration"


@remembered(1 << 10)
def _takesHosts(routes: bytes) -> bool:
    """
    Whether a serialized route configuration has C{vhds}.
    """
    message: Any = messageClass(_ROUTES).FromString(routes)
    found: bool = message.HasField("vhds")
    return found


def _asMember(host: bytes) -> bytes:
    """
    A route configuration with nothing but a serialized virtual host. Messages that stand one after the other are one
    message, with the hosts of both.
    """
    message: Any = newMessage(_ROUTES)
    message.virtual_hosts.add().ParseFromString(host)
    data: bytes = message.SerializeToString()
    return data


def configurationOf(name: str) -> str:
    """
    The route configuration that a resource is for: C{CONFIGURATION/HOST}, or the name of the configuration alone.
    """
    return name.rpartition("/")[0] or name


@dataclass(frozen=True)
class VirtualHosts:
    """
    @ivar routes: Serialized route configurations that have C{vhds}, as they came, by name.
    @ivar hosts: Serialized virtual hosts, by the name of the resource, of all route configurations.
    @ivar areThere: Whether the control plane said which there are.
    """

    routes: Mapping[str, bytes] = field(default_factory=dict)
    hosts: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    areThere: bool = False

    @property
    def come(self) -> frozenset[str]:
        """
        The route configurations whose virtual hosts are known.
        """
        return frozenset(self.routes if self.areThere else ())

    def withRoutes(self, update: Update) -> VirtualHosts:
        """
        Route configurations came.
        """
        kept = {name: value for name, value in self.routes.items() if name not in update.resources}
        new = {name: value for name, value in update.resources.items() if _takesHosts(value)}
        return replace(self, routes={**kept, **new})

    def withHosts(self, update: Update) -> VirtualHosts:
        """
        Virtual hosts came.
        """
        hosts = {name: dict(held) for name, held in self.hosts.items()}
        for name in update.removed:
            hosts.get(configurationOf(name), {}).pop(name, None)
        for name, value in update.resources.items():
            hosts.setdefault(configurationOf(name), {})[name] = value
        return replace(self, hosts=hosts, areThere=True)

    def only(self, names: Container[str]) -> VirtualHosts:
        """
        What is for these route configurations. The control plane says all virtual hosts once, whoever takes them:
        they are forgotten when nobody takes any.
        """
        routes = {name: value for name, value in self.routes.items() if name in names}
        return replace(self, routes=routes) if routes else VirtualHosts()

    def merge(self, update: Update) -> Update:
        """
        Route configurations that came, with the virtual hosts that are there.
        """
        merged = {name: self._merged(name, value) for name, value in update.resources.items()}
        return replace(update, resources=merged)

    def mergeAll(self, update: Update) -> Update:
        """
        The route configurations for which virtual hosts came, as if they themselves had come.
        """
        names = {configurationOf(name) for name in (*update.resources, *update.removed)}
        merged = {name: self._merged(name, value) for name, value in self.routes.items() if name in names}
        return Update(ROUTES, update.version, update.nonce, merged)

    def _merged(self, name: str, value: bytes) -> bytes:
        if name not in self.routes:
            return value
        return value + b"".join(_asMember(host) for _, host in sorted(self.hosts.get(name, {}).items()))
