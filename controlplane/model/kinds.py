# -*- test-case-name: tests.controlplane.model.test_kinds -*-
"""
The table of kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from meshproxy.controlplane.model.authorizationpolicy import AuthorizationPolicy, checkAuthorizationPolicy
from meshproxy.controlplane.model.destinationrule import DestinationRule, checkDestinationRule
from meshproxy.controlplane.model.gateway import Gateway, checkGateway
from meshproxy.controlplane.model.peerauthentication import PeerAuthentication, checkPeerAuthentication
from meshproxy.controlplane.model.requestauthentication import (
    RequestAuthentication,
    checkRequestAuthentication,
)
from meshproxy.controlplane.model.resource import Metadata
from meshproxy.controlplane.model.secret import Secret, checkSecret
from meshproxy.controlplane.model.service import Service, checkService
from meshproxy.controlplane.model.serviceentry import ServiceEntry, checkServiceEntry
from meshproxy.controlplane.model.sidecar import Sidecar, checkSidecar
from meshproxy.controlplane.model.spots import Spot
from meshproxy.controlplane.model.virtualservice import VirtualService, checkVirtualService
from meshproxy.controlplane.model.workloadentry import WorkloadEntry, checkWorkloadEntry
from meshproxy.controlplane.model.workloadgroup import WorkloadGroup, checkWorkloadGroup

__all__ = ["KINDS", "OUTSIDE", "Kind", "findKind", "findPlural", "kindNames"]

# ``Any``: each kind has a class of its own, and a check that takes it.


@frozen(kw_only=True)
class Kind:
    """
    A kind of resource.

    @ivar group: The group of its API, empty for the core group.
    @ivar versions: The versions that are published, the preferred one first. All have the same fields.
    @ivar kind: Its name.
    @ivar plural: Its name in the path of a URL.
    @ivar singular: Its name on a command line, beside the plural.
    @ivar shortNames: And shorter ones.
    @ivar namespaced: Whether it lies in a namespace.
    @ivar model: The attrs class of its C{spec}.
    @ivar check: Tells what is wrong with an instance.
    @ivar specKey: The key that holds the fields of the class; empty where they stand at the top.
    @ivar specRequired: Whether it may not be missing.
    @ivar isSecret: Whether its values stay out of problems, logs and dumps.
    """

    group: str
    versions: tuple[str, ...]
    kind: str
    plural: str
    model: type[Any]
    check: Callable[[Any, Metadata, Spot], None]
    shortNames: tuple[str, ...] = ()
    namespaced: bool = True
    specKey: str = "spec"
    specRequired: bool = False
    isSecret: bool = False

    @property
    def singular(self) -> str:
        """
        Its name in small letters.
        """
        return self.kind.lower()

    @property
    def apiVersions(self) -> tuple[str, ...]:
        """
        Group and version as a resource has them, the preferred one first.
        """
        return tuple(f"{self.group}/{version}" if self.group else version for version in self.versions)


_NETWORKING = ("networking.istio.io", ("v1", "v1beta1", "v1alpha3"))
_SECURITY = ("security.istio.io", ("v1", "v1beta1"))
_CORE = ("", ("v1",))


def _kind(api: tuple[str, tuple[str, ...]], name: str, plural: str, model: type, check: Any, **more: Any) -> Kind:
    return Kind(group=api[0], versions=api[1], kind=name, plural=plural, model=model, check=check, **more)


KINDS: tuple[Kind, ...] = (
    _kind(_NETWORKING, "VirtualService", "virtualservices", VirtualService, checkVirtualService, shortNames=("vs",)),
    _kind(
        _NETWORKING, "DestinationRule", "destinationrules", DestinationRule, checkDestinationRule, shortNames=("dr",)
    ),
    _kind(_NETWORKING, "Gateway", "gateways", Gateway, checkGateway, shortNames=("gw",)),
    _kind(
        _NETWORKING,
        "ServiceEntry",
        "serviceentries",
        ServiceEntry,
        checkServiceEntry,
        shortNames=("se",),
        specRequired=True,
    ),
    _kind(
        _NETWORKING,
        "WorkloadEntry",
        "workloadentries",
        WorkloadEntry,
        checkWorkloadEntry,
        shortNames=("we",),
        specRequired=True,
    ),
    _kind(
        _NETWORKING,
        "WorkloadGroup",
        "workloadgroups",
        WorkloadGroup,
        checkWorkloadGroup,
        shortNames=("wg",),
        specRequired=True,
    ),
    _kind(_NETWORKING, "Sidecar", "sidecars", Sidecar, checkSidecar),
    _kind(
        _SECURITY,
        "PeerAuthentication",
        "peerauthentications",
        PeerAuthentication,
        checkPeerAuthentication,
        shortNames=("pa",),
    ),
    _kind(
        _SECURITY,
        "AuthorizationPolicy",
        "authorizationpolicies",
        AuthorizationPolicy,
        checkAuthorizationPolicy,
        shortNames=("ap",),
    ),
    _kind(
        _SECURITY,
        "RequestAuthentication",
        "requestauthentications",
        RequestAuthentication,
        checkRequestAuthentication,
        shortNames=("ra",),
    ),
    _kind(_CORE, "Service", "services", Service, checkService, shortNames=("svc",), specRequired=True),
    _kind(_CORE, "Secret", "secrets", Secret, checkSecret, specKey="", isSecret=True),
)

#: What stands in the same files and belongs to Kubernetes: C{(group, kind)}.
OUTSIDE = frozenset(
    [("", kind) for kind in ("ConfigMap", "Endpoints", "Namespace", "Pod", "ServiceAccount", "PersistentVolumeClaim")]
    + [("apps", kind) for kind in ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")]
    + [("batch", kind) for kind in ("CronJob", "Job")]
    + [("autoscaling", "HorizontalPodAutoscaler"), ("policy", "PodDisruptionBudget")]
    + [("networking.k8s.io", kind) for kind in ("Ingress", "IngressClass", "NetworkPolicy")]
    + [("rbac.authorization.k8s.io", f"{scope}{kind}") for scope in ("", "Cluster") for kind in ("Role", "RoleBinding")]
)

_BY_VERSION = {(version, kind.kind): kind for kind in KINDS for version in kind.apiVersions}
_BY_PLURAL = {(kind.group, kind.plural): kind for kind in KINDS}


def findKind(apiVersion: str, kind: str) -> Kind | None:
    """
    The kind that a resource says it is of.
    """
    return _BY_VERSION.get((apiVersion, kind))


def findPlural(group: str, plural: str) -> Kind | None:
    """
    The kind that a URL names.
    """
    return _BY_PLURAL.get((group, plural))


def kindNames() -> tuple[str, ...]:
    """
    The name of every kind.
    """
    return tuple(kind.kind for kind in KINDS)
