# -*- test-case-name: tests.controlplane.api.test_issuing -*-
"""
Identities over HTTP: tokens by which a workload proves who it is, certificates, roots.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.api.replies import JSON, Refused, Reply
from meshproxy.controlplane.api.router import Operation, Router
from meshproxy.controlplane.ca.authority import Authority, AuthorityError, Issued
from meshproxy.controlplane.ca.certificates import pemOf
from meshproxy.controlplane.ca.identity import Identity, IdentityError
from meshproxy.controlplane.ca.requests import RequestRefused
from meshproxy.controlplane.ca.tokens import BootstrapTokens, TokenRefused

__all__ = ["addIssuing"]

_TOKEN_LIFE = 900.0
"""
Seconds that a token lives by default: long enough to start a workload with it.
"""

_MOST_TOKEN_LIFE = 7 * 86400.0


#: Of each operation: what it answers with, what it takes, how it may refuse besides.
_SHAPES: dict[tuple[str, str], tuple[str, str, tuple[int, ...]]] = {
    ("GET", "/v1/ca/roots"): ("Roots", "", ()),
    ("GET", "/v1/ca/certificates"): ("Certificates", "", ()),
    ("POST", "/v1/ca/tokens"): ("Token", "TokenRequest", (422,)),
    ("POST", "/v1/ca/certificates"): ("Certificate", "CertificateRequest", (422, 503)),
}


def addIssuing(router: Router, authority: Authority, tokens: BootstrapTokens) -> None:
    """
    The operations below C{/v1/ca}.
    """
    own = _Issuing(authority, tokens)

    def add(method: str, pattern: str, handler: Any, role: Role | None, told: str, *types: str) -> None:
        codes = (201,) if method == "POST" else (200,)
        answer, accepts, refuses = _SHAPES[method, pattern]
        router.add(Operation(method, pattern, handler, role, told, {}, types, "ca", codes, answer, accepts, refuses))

    add("GET", "/v1/ca/roots", own.roots, Role.READ, "The roots that peers have to trust")
    add("GET", "/v1/ca/certificates", own.list, Role.READ, "The newest certificate of each identity, and when it ends")
    add("POST", "/v1/ca/tokens", own.token, Role.ISSUE, "Make a bootstrap token for an identity", JSON)
    add("POST", "/v1/ca/certificates", own.certificate, None, "Certify a key, for who a token or a role proves", JSON)


class _Issuing:
    """
    See the module.
    """

    def __init__(self, authority: Authority, tokens: BootstrapTokens) -> None:
        self._authority = authority
        self._tokens = tokens

    async def roots(self, call: Call) -> Reply:
        """
        Their PEM, and what is to know of each.
        """
        roots = [
            {
                "subject": root.subject.rfc4514_string(),
                "serial": f"{root.serial_number:x}",
                "notBefore": root.not_valid_before_utc.isoformat(),
                "notAfter": root.not_valid_after_utc.isoformat(),
            }
            for root in self._authority.roots
        ]
        told = {"trustDomain": self._authority.trustDomain, "roots": roots, "pem": pemOf(self._authority.roots)}
        return Reply(told)

    async def list(self, call: Call) -> Reply:
        """
        The newest of each identity, of those that this process issued.
        """
        newest = sorted(self._authority.newest.items())
        told = [
            {"identity": str(identity), "serial": issued.serial, "notAfter": issued.notAfter.isoformat()}
            for identity, issued in newest
        ]
        return Reply({"certificates": told})

    async def token(self, call: Call) -> Reply:
        """
        C{{"namespace": ..., "serviceAccount": ..., "ttlSeconds": ...}} gives C{{"token": ...}}, once.
        """
        asked = _fields(call, "namespace", "serviceAccount", "ttlSeconds")
        life = _seconds(asked, "ttlSeconds", _TOKEN_LIFE, _MOST_TOKEN_LIFE)
        identity = self._identity(asked)
        token = await self._tokens.make(identity, life, call.principal.name)
        return Reply({"token": token, "identity": str(identity), "ttlSeconds": life}, 201)

    async def certificate(self, call: Call) -> Reply:
        """
        C{{"csr": PEM, "namespace": ..., "serviceAccount": ..., "ttlSeconds": ...}}, or C{token} instead of the names.
        """
        asked = _fields(call, "csr", "token", "namespace", "serviceAccount", "ttlSeconds")
        request = asked.get("csr")
        if not isinstance(request, str):
            raise Refused(400, "csr is a signing request in PEM")
        life = _seconds(asked, "ttlSeconds", 0.0, 10 * 365 * 86400.0)
        if "token" in asked:
            identity = await self._byToken(asked["token"], call.peer)
        else:
            call.principal.require(Role.ISSUE)
            identity = self._identity(asked)
        try:
            issued = self._authority.issue(request.encode("utf-8", "replace"), identity, timedelta(seconds=life))
        except RequestRefused as error:
            raise Refused(422, str(error)) from error
        except AuthorityError as error:
            raise Refused(503, str(error)) from error
        return Reply(_told(issued, identity), 201)

    async def _byToken(self, token: object, peer: str) -> Identity:
        try:
            return await self._tokens.redeem(str(token), peer)
        except TokenRefused as error:
            raise Refused(403, str(error)) from error

    def _identity(self, asked: Mapping[str, Any]) -> Identity:
        try:
            return Identity(
                self._authority.trustDomain,
                str(asked.get("namespace", "default")),
                str(asked.get("serviceAccount", "default")),
            )
        except IdentityError as error:
            raise Refused(422, str(error)) from error


def _told(issued: Issued, identity: Identity) -> dict[str, object]:
    return {
        "identity": str(identity),
        "serial": issued.serial,
        "notAfter": issued.notAfter.isoformat(),
        "certificateChain": issued.chainPEM(),
        "roots": pemOf(issued.roots),
    }


def _fields(call: Call, *names: str) -> Mapping[str, Any]:
    asked = call.document()
    if not isinstance(asked, Mapping):
        raise Refused(400, "the body is a mapping")
    unknown = sorted(set(asked) - set(names))
    if unknown:
        raise Refused(400, f"{unknown[0]!r} is not known here, only {', '.join(names)}")
    return asked


def _seconds(asked: Mapping[str, Any], name: str, default: float, most: float) -> float:
    value = asked.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise Refused(400, f"{name} is a number of seconds from 0 to {most:.0f}")
    return float(value) or default
