# -*- test-case-name: tests.xds.test_dynamic -*-
"""
What came by xDS, and what becomes of it: clusters, listeners and routes are compiled as those of a bootstrap are;
endpoints and secrets go to whoever wants them. A response with a fault changes nothing, and its sender is told all that
is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from meshproxy.config import Report, Section
from meshproxy.config.constraints import checkConstraints
from meshproxy.config.pool import TYPE_URL_PREFIX, messageClass
from meshproxy.config.supported import supported
from meshproxy.errors import ConfigErrors
from meshproxy.secrets.store import SecretStore
from meshproxy.upstream.assignments import Assignments
from meshproxy.upstream.discovery import compileAssigned
from meshproxy.xds.client import Client, Update
from meshproxy.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET

__all__ = ["DynamicConfiguration", "DynamicResources", "dynamicSection", "routeNames"]

_MANAGER = TYPE_URL_PREFIX + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


@dataclass(frozen=True)
class DynamicResources:
    """
    Serialized messages, by name.
    """

    clusters: Mapping[str, bytes] = field(default_factory=dict)
    listeners: Mapping[str, bytes] = field(default_factory=dict)
    routes: Mapping[str, bytes] = field(default_factory=dict)


def dynamicSection(typeURL: str, what: str, name: str, value: bytes, report: Report) -> Section:
    """
    A message as configuration: held to its constraints and to what is implemented. Faults go to the report.

    @param what: How faults name the type: C{clusters}.
    """
    message = messageClass(typeURL.rpartition("/")[2]).FromString(value)
    section = Section(message, f"{what}[{name}]", report)
    checkConstraints(section)
    supported.check(section)
    return section


def routeNames(listener: bytes) -> set[str]:
    """
    The route configurations that the connection managers of a C{Listener} take by RDS.
    """
    message: Any = messageClass("envoy.config.listener.v3.Listener").FromString(listener)
    chains = [*message.filter_chains]
    if message.HasField("default_filter_chain"):
        chains.append(message.default_filter_chain)
    found = set()
    for chain in chains:
        for one in chain.filters:
            if one.typed_config.type_url == _MANAGER:
                manager: Any = messageClass(_MANAGER.rpartition("/")[2]).FromString(one.typed_config.value)
                if manager.HasField("rds"):
                    found.add(manager.rds.route_config_name)
    return found


class DynamicConfiguration:
    """
    See the module.

    @ivar resources: What was taken.
    @ivar taken: The types of which a response was taken.
    """

    def __init__(
        self,
        client: Client,
        assignments: Assignments,
        secrets: SecretStore,
        apply: Callable[[DynamicResources], list[str]],
    ) -> None:
        """
        @param apply: Compiles resources, with those of the bootstrap, and serves them soon; gives what is wrong with
            them, and then changes nothing.
        """
        self.resources = DynamicResources()
        self.taken: set[str] = set()
        # Route configurations that listeners of the bootstrap take by RDS.
        self.staticRoutes: frozenset[str] = frozenset()
        self._client = client
        self._assignments = assignments
        self._secrets = secrets
        self._apply = apply

    def receive(self, update: Update) -> list[str]:
        """
        A response came.

        @return: What is wrong with it; nothing if it is taken.
        """
        if update.typeURL == ENDPOINTS:
            errors = self._receiveEndpoints(update)
        elif update.typeURL == SECRET:
            errors = self._receiveSecrets(update)
        else:
            errors = self._receiveResources(update)
        if not errors:
            self.taken.add(update.typeURL)
        return errors

    def _receiveResources(self, update: Update) -> list[str]:
        before = self.resources
        if update.typeURL == CLUSTER:
            after = replace(before, clusters=_changed(before.clusters, update))
        elif update.typeURL == LISTENER:
            after = replace(before, listeners=_changed(before.listeners, update))
        else:
            after = replace(before, routes=_changed(before.routes, update))
        if after == before:
            return []
        self.resources = after
        errors = self._apply(after)
        if errors:
            self.resources = before
        self.wantAll()
        return errors

    def wantAll(self) -> None:
        """
        Ask for what the resources name.
        """
        names = set(self.staticRoutes)
        for listener in self.resources.listeners.values():
            names |= routeNames(listener)
        self._client.want(ROUTES, names)
        self._client.want(ENDPOINTS, self._assignments.wanted)
        self._client.want(SECRET, self._secrets.discovered)

    def _receiveEndpoints(self, update: Update) -> list[str]:
        report = Report()
        sections = {
            name: dynamicSection(ENDPOINTS, "endpoints", name, value, report)
            for name, value in update.resources.items()
        }
        for section in sections.values():
            compileAssigned(section)
        if report.errors:
            return list(map(str, report.errors))
        for name, section in sections.items():
            self._assignments.receive(name, section)
        return []

    def _receiveSecrets(self, update: Update) -> list[str]:
        errors: list[str] = []
        for name, value in update.resources.items():
            report = Report()
            section = dynamicSection(SECRET, "secrets", name, value, report)
            try:
                report.raiseIfAny()
                self._secrets.receive(name, section, update.version)
            except ConfigErrors as error:
                errors += map(str, error.errors)
        return errors


def _changed(before: Mapping[str, bytes], update: Update) -> dict[str, bytes]:
    if update.isWhole:
        return dict(update.resources)
    kept = {name: value for name, value in before.items() if name not in update.removed}
    return {**kept, **update.resources}
