# -*- test-case-name: tests.filters.http.test_basic_auth -*-
"""
C{envoy.filters.http.basic_auth}: lets in who knows the password of a user (RFC 7617).
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha1
from hmac import compare_digest
from typing import NamedTuple

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.headers import RequestHeaders
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.http.metadata import noteMetadata
from meshproxy.interfaces import IHTTPStream, Stop
from meshproxy.routing.redirects import readDataSource

__all__ = ["BasicAuth", "BasicAuthPlan", "RouteUsers", "Users", "readUsers"]

_PACKAGE = "envoy.extensions.filters.http.basic_auth.v3."

declare(_PACKAGE + "BasicAuth", "users", "forward_username_header", "authentication_header", "realm")
declare(_PACKAGE + "BasicAuth", "allow_missing", "emit_dynamic_metadata")
declare(_PACKAGE + "BasicAuthPerRoute", "users", "realm")

# Whatever the filter is called, as in Envoy.
_NAMESPACE = "envoy.filters.http.basic_auth"
# How much of a path is told in the realm, as in Envoy.
_LONGEST_PATH = 256
_base64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}\Z").match
_digest = re.compile(rb"[A-Za-z0-9+/]{27}=\Z").match
# Compared with where there is no such user, so that the time tells nothing.
_NOBODY = b"?" * 28

#: Names to the base64 of the SHA-1 of their passwords.
Users = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class BasicAuthPlan:
    """
    A compiled C{BasicAuth}.

    @ivar forwarded: The header that tells the service the user's name, or empty.
    @ivar asked: The header that holds the credentials.
    @ivar realm: What C{www-authenticate} tells in place of the URL, quoted; empty for the URL.
    @ivar allowMissing: Whether a request without credentials passes.
    @ivar notesName: Whether the user's name goes into the dynamic metadata.
    """

    users: Users
    forwarded: bytes
    asked: bytes
    realm: bytes = b""
    allowMissing: bool = False
    notesName: bool = False


class RouteUsers(NamedTuple):
    """
    A compiled C{BasicAuthPerRoute}.
    """

    users: Users
    realm: bytes


class BasicAuth(HTTPFilter):
    """
    One instance serves all streams.
    """

    shared = True
    configType = _PACKAGE + "BasicAuth"
    routeConfigType = _PACKAGE + "BasicAuthPerRoute"

    def __init__(self, config: BasicAuthPlan, context: FilterContext) -> None:
        super().__init__(config, context)
        scope = context.scope.scope("basic_auth.")
        self._allowed = scope.counter("allowed")
        self._denied = scope.counter("denied")

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> BasicAuthPlan:
        forwarded: str = section.get("forward_username_header")
        asked: str = section.get("authentication_header") or "authorization"
        return BasicAuthPlan(
            readUsers(section.childOrEmpty("users")),
            forwarded.lower().encode("utf-8"),
            asked.lower().encode("utf-8"),
            _quoted(section.get("realm")),
            section.get("allow_missing"),
            section.get("emit_dynamic_metadata"),
        )

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> RouteUsers:
        return RouteUsers(readUsers(section.childOrEmpty("users")), _quoted(section.get("realm")))

    def requestHeaders(self, stream: IHTTPStream, headers: RequestHeaders, endStream: bool) -> Stop | None:
        plan: BasicAuthPlan = self.config
        route: RouteUsers | None = stream.routeConfig(self.context.name)
        # All of them: the service might read another one than this filter.
        value = headers.joined(plan.asked)
        if plan.allowMissing and (value is None or not value.startswith(b"Basic ")):
            # As in Envoy: other schemes are for others to judge, and none of this is counted.
            return None
        if value is None:
            return self._deny(stream, headers, b"Missing username and password.", "no_credential_for_basic_auth")
        if not value.startswith(b"Basic "):
            return self._deny(
                stream, headers, b"Expected 'Basic' authentication scheme.", "invalid_scheme_for_basic_auth"
            )
        name, colon, password = _decoded(value[6:]).partition(b":")
        if not colon:
            return self._deny(stream, headers, b"Invalid basic credential format.", "invalid_format_for_basic_auth")
        if not _knows(plan.users if route is None else route.users, name, password):
            return self._deny(
                stream, headers, b"Invalid username/password combination.", "invalid_credential_for_basic_auth"
            )
        if plan.forwarded:
            headers.set(plan.forwarded, name)
        if plan.notesName:
            noteMetadata(stream, _NAMESPACE, {"username": name.decode("utf-8", "surrogateescape")})
        self._allowed.value += 1
        return None

    def _deny(self, stream: IHTTPStream, headers: RequestHeaders, why: bytes, details: str) -> Stop:
        self._denied.value += 1
        route: RouteUsers | None = stream.routeConfig(self.context.name)
        realm = (route.realm if route is not None else b"") or self.config.realm
        if not realm:
            path = headers.first.get(b"x-envoy-original-path", headers.path)[:_LONGEST_PATH]
            realm = b"%s://%s%s" % (headers.scheme, headers.authority, path)
        body = b"User authentication failed. " + why
        return stream.reply(401, body, ((b"www-authenticate", b'Basic realm="%s"' % realm),), details)


def _quoted(realm: str) -> bytes:
    """
    What may stand between quotes (RFC 9110, section 5.6.4).
    """
    return realm.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8")


def _decoded(token: bytes) -> bytes:
    """
    What base64 stands for, with its padding or without; empty where it is none.
    """
    found = token.rstrip(b"=")
    if _base64(token) is None or len(found) % 4 == 1:
        return b""
    return b64decode(found + b"=" * (-len(found) % 4))


def _knows(users: Users, name: bytes, password: bytes) -> bool:
    made = b64encode(sha1(password, usedforsecurity=False).digest())
    return compare_digest(users.get(name, _NOBODY), made)


def readUsers(section: Section) -> Users:
    """
    Read a C{DataSource} in the format of htpasswd, with C{{SHA}} digests. Faults tell the line, and nothing of what
    stands there.
    """
    users: dict[bytes, bytes] = {}
    for number, line in enumerate(readDataSource(section).split(b"\n"), 1):
        if not line or line.startswith(b"#"):
            continue
        name, colon, digest = line.partition(b":")
        if not colon or not name or not digest:
            section.refuse(f"line {number} of the users is not NAME:{{SHA}}DIGEST")
        elif name in users:
            section.refuse(f"line {number} of the users has a name that is there already")
        elif not digest.startswith(b"{SHA}"):
            section.refuse(f"line {number} of the users is not in the format that htpasswd -s writes, {{SHA}}")
        elif _digest(digest[5:]) is None:
            section.refuse(f"line {number} of the users has no SHA-1 digest in base64 (28 characters) after {{SHA}}")
        else:
            users[name] = digest[5:]
    return users
