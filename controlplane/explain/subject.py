# -*- test-case-name: tests.controlplane.explain.test_explanation -*-
"""
Of whom an explanation is: a proxy, and what it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

from attrs import frozen

from meshproxy.controlplane.model.resource import Key, Resource
from meshproxy.controlplane.registry.index import ServiceIndex
from meshproxy.controlplane.registry.registry import indexOf
from meshproxy.controlplane.snapshot.conversion import Converter
from meshproxy.controlplane.snapshot.snapshot import Snapshot
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.proxy import Proxy
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.translation import Translation, translate

__all__ = ["Asked", "ISubject", "Mesh", "Subject", "identityOf", "serving"]


@frozen(kw_only=True)
class Asked:
    """
    A request that nobody sent.

    @ivar url: C{http://host:port/path}, as the caller has it.
    @ivar fields: Each C{name: value}.
    @ivar inbound: Whether it comes to the workload, instead of from it.
    @ivar principal: Who sends it, a SPIFFE ID; empty for somebody without a certificate.
    @ivar protocols: What the connection says by ALPN.
    @ivar source: The address that it comes from.
    """

    url: str
    method: str = "GET"
    fields: tuple[str, ...] = ()
    inbound: bool = False
    principal: str = ""
    protocols: tuple[str, ...] = ()
    source: str = ""


class ISubject(Protocol):
    """
    A proxy with what it is to have; L{meshproxy.controlplane.snapshot.snapshots.Attached} is one.
    """

    proxy: Proxy

    @property
    def translation(self) -> Translation | None:
        """
        What its configuration was made from; L{None} at first.
        """

    @property
    def snapshot(self) -> Snapshot | None:
        """
        What it is to have; L{None} at first.
        """


@frozen
class Mesh:
    """
    All that configurations are made of.
    """

    config: MeshConfig
    resources: ResourceSet
    services: ServiceIndex

    @classmethod
    def of(cls, config: MeshConfig, resources: Sequence[Resource]) -> Mesh:
        """
        What some resources come to.
        """
        return cls(config, ResourceSet(resources), indexOf(resources, config.domain))

    def resource(self, key: Key) -> Resource | None:
        """
        One resource.
        """
        return self.resources.get(*key)


class Subject:
    """
    A proxy as it would be with some resources. Its configuration is made when somebody asks for it.
    """

    def __init__(self, proxy: Proxy, mesh: Mesh) -> None:
        self.proxy = proxy
        self._mesh = mesh

    @cached_property
    def translation(self) -> Translation:
        """
        What its configuration is made from.
        """
        mesh = self._mesh
        return translate(self.proxy, mesh.config, mesh.resources, mesh.services)

    @cached_property
    def snapshot(self) -> Snapshot:
        """
        What it is to have.
        """
        return Converter().snapshot(self.translation)


def identityOf(proxy: Proxy, mesh: MeshConfig) -> str:
    """
    The SPIFFE ID of a proxy's workload.
    """
    return f"spiffe://{mesh.trustDomain}/ns/{proxy.namespace}/sa/{proxy.serviceAccount}"


def serving(subjects: Sequence[ISubject], address: str, namespace: str) -> ISubject | None:
    """
    The sidecar of a workload at an address.
    """
    found = [one for one in subjects if one.proxy.isSidecar and address in one.proxy.addresses]
    return next((one for one in found if one.proxy.namespace == namespace), found[0] if found else None)
