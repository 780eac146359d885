# -*- test-case-name: tests.controlplane.api.test_access -*-
"""
Who may do what. The API is closed: a caller is known by a token, by its certificate, or by being on this machine.

A web page that a user of this machine looks at is on this machine as well, and its scripts can send requests: so
without a token a request counts only if it cannot be a page's doing. A name that somebody made resolve to 127.0.0.1
(DNS rebinding) shows in C{Host}, a page of elsewhere in C{Origin} or C{Sec-Fetch-Site}, which scripts cannot set.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from meshproxy.controlplane.api.replies import Refused

__all__ = ["ALL_ROLES", "Access", "Caller", "Principal", "Role", "TokenGrant"]


class Role(Enum):
    """
    What one may be allowed to.

    @cvar READ: See resources, without the values of secrets.
    @cvar WRITE: Change resources.
    @cvar ISSUE: Make tokens by which workloads prove who they are, and see the values of secrets.
    """

    READ = "read"
    WRITE = "write"
    ISSUE = "issue"


ALL_ROLES = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Principal:
    """
    Who asks.

    @ivar name: For the history and the audit log.
    """

    name: str
    roles: frozenset[Role]

    def require(self, role: Role) -> None:
        """
        @raise Refused: If it does not have the role.
        """
        if role not in self.roles:
            has = ", ".join(sorted(one.value for one in self.roles)) or "none"
            raise Refused(403, f"{self.name} lacks the role {role.value!r} (it has: {has})")


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """
    A bearer token and what it is good for.

    @ivar digest: The SHA-256 of the token, hexadecimal, so that a configuration holds no secret.
    """

    name: str
    digest: str
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class Caller:
    """
    What is known of a request before its caller is.

    @ivar host: The peer's address; empty for a unix socket.
    @ivar identities: The URIs in its verified certificate; empty without one.
    @ivar port: The port that was asked.
    @ivar headers: The first value of each field, by its name in small letters.
    """

    host: str
    identities: Sequence[str]
    headers: Mapping[str, str]


class Access:
    """
    See the module.
    """

    def __init__(
        self,
        tokens: Sequence[TokenGrant] = (),
        identities: Mapping[str, frozenset[Role]] | None = None,
        local: frozenset[Role] = ALL_ROLES,
    ) -> None:
        """
        @param identities: SPIFFE IDs, and what each may do.
        @param local: What one may do from this machine without a token; nothing switches that off.
        """
        self._tokens = list(tokens)
        self._identities = dict(identities or {})
        self._local = local

    def principal(self, caller: Caller) -> Principal:
        """
        @raise Refused: 401 if it proves nothing, 403 if it must not ask at all.
        """
        authorization = caller.headers.get("authorization")
        if authorization is not None:
            return self._byToken(authorization)
        for identity in caller.identities:
            if identity in self._identities:
                return Principal(identity, self._identities[identity])
        if not _isLoopback(caller.host) or not self._local:
            raise _unauthorized("a token (Authorization: Bearer TOKEN) or a known client certificate is needed")
        _refusePages(caller)
        return Principal("local", self._local)

    def _byToken(self, authorization: str) -> Principal:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized(f"only Bearer tokens are taken, not {scheme!r}")
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for grant in self._tokens:
            # All are looked at, each in the same time.
            if hmac.compare_digest(grant.digest.lower(), digest):
                found = grant
        if found is None:
            raise _unauthorized("the token is not known here")
        return Principal(found.name, found.roles)


def _unauthorized(detail: str) -> Refused:
    return Refused(401, detail, headers={"WWW-Authenticate": 'Bearer realm="meshproxy"'})


def _isLoopback(host: str) -> bool:
    if not host:
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _refusePages(caller: Caller) -> None:
    """
    @raise Refused: If the request may be the doing of a page in a browser.
    """
    host = caller.headers.get("host", "")
    if not _isLocalName(_nameOf(host)):
        raise Refused(403, f"without a token this API is asked as localhost or a loopback address, not as {host!r}")
    origin = caller.headers.get("origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        raise Refused(403, f"without a token a page of {origin!r} may not ask")
    site = caller.headers.get("sec-fetch-site", "none")
    if site not in ("none", "same-origin"):
        raise Refused(403, "without a token a page of another site may not ask")


def _nameOf(host: str) -> str:
    """
    A C{Host} without its port.
    """
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _isLocalName(name: str) -> bool:
    return name.lower() == "localhost" or (bool(name) and _isLoopback(name))
