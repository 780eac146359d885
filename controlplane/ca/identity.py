# -*- test-case-name: tests.controlplane.ca.test_identity -*-
"""
SPIFFE identities of workloads, in Istio's form: C{spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT}.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshproxy.errors import MeshProxyError

__all__ = ["DEFAULT_TRUST_DOMAIN", "Identity", "IdentityError", "checkTrustDomain"]

DEFAULT_TRUST_DOMAIN = "cluster.local"

# SPIFFE-ID, 2.1: lower case letters, digits, dots, dashes and underscores; at most 255 bytes.
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
# A Kubernetes name (RFC 1123 subdomain); a namespace is a label of one.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_URI = re.compile(r"spiffe://(?P<domain>[^/]*)/ns/(?P<namespace>[^/]*)/sa/(?P<account>[^/]*)")


class IdentityError(MeshProxyError):
    """
    What should be an identity is none.
    """


def checkTrustDomain(name: str) -> str:
    """
    @return: The name.

    @raise IdentityError: If it is no trust domain.
    """
    if not _TRUST_DOMAIN.fullmatch(name):
        raise IdentityError(
            f"{name!r} is no trust domain: lower case letters, digits, dots, dashes and underscores, at most 255"
        )
    return name


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """
    Who a workload is.

    @raise IdentityError: If a part of it is no name.
    """

    trustDomain: str
    namespace: str
    serviceAccount: str

    def __post_init__(self) -> None:
        checkTrustDomain(self.trustDomain)
        if not _LABEL.fullmatch(self.namespace):
            raise IdentityError(f"{self.namespace!r} is no namespace: lower case letters, digits, dashes, at most 63")
        if not _NAME.fullmatch(self.serviceAccount):
            raise IdentityError(
                f"{self.serviceAccount!r} is no service account: lower case letters, digits, dashes, dots, at most 253"
            )

    @classmethod
    def parse(cls, uri: str) -> Identity:
        """
        The identity of a SPIFFE ID.

        @raise IdentityError: If it is none, or not in Istio's form.
        """
        found = _URI.fullmatch(uri)
        if found is None:
            raise IdentityError(f"{uri!r} is not of the form spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT")
        return cls(found["domain"], found["namespace"], found["account"])

    def __str__(self) -> str:
        """
        The SPIFFE ID.
        """
        return f"spiffe://{self.trustDomain}/ns/{self.namespace}/sa/{self.serviceAccount}"
