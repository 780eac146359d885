# -*- test-case-name: tests.controlplane.model.test_security -*-
"""
The attributes that an AuthorizationPolicy asks of, and their values.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from meshproxy.controlplane.model.names import badSubnet

__all__ = [
    "KEYS",
    "badAddresses",
    "badCondition",
    "badPathTemplate",
    "badPortText",
    "badServiceAccount",
    "badTrustDomain",
    "badWildcard",
]

#: RFC 3986, appendix A: the characters of a segment.
_LITERAL = re.compile(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]+\Z")


def badAddresses(value: str) -> str | None:
    """
    An address or a range.
    """
    return badSubnet(value)


def badPortText(value: str) -> str | None:
    """
    A port, as a string.
    """
    if value.isascii() and value.isdigit() and len(value) <= 5 and int(value) <= 65535:
        return None
    return f"{value!r} is not a port: 0 to 65535"


def badServiceAccount(value: str) -> str | None:
    """
    NAME or NAMESPACE/NAME.
    """
    namespace, slash, name = value.partition("/")
    if "*" in value:
        return f"{value!r}: a service account has no wildcard"
    if len(value) > 320 or "/" in name or (slash and not (namespace and name)):
        return f"{value!r} is not NAME or NAMESPACE/NAME of a service account"
    return None


def badWildcard(value: str) -> str | None:
    """
    A text, a prefix, a suffix, or C{*}.
    """
    if "*" in value[1:-1] or value.count("*") > 1:
        return f"{value!r}: one wildcard, at the beginning or the end"
    return None


def badTrustDomain(value: str) -> str | None:
    """
    A trust domain, perhaps with a wildcard.
    """
    return f"{value!r}: a trust domain has no slash" if "/" in value else badWildcard(value)


def badPathTemplate(value: str) -> str | None:
    """
    A path; one with C{{*}} (a segment) or C{{**}} (the rest) is a template of legal segments.
    """
    isTemplate = "{*}" in value or "{**}" in value
    rest = False
    for segment in value.strip("/").split("/"):
        if segment in ("{*}", "{**}"):
            if rest:
                return f"{value!r}: {{**}} is the last operator"
            rest = segment == "{**}"
        elif "{" in segment or "}" in segment:
            return f"{value!r}: braces are only in the operators {{*}} and {{**}}, which are whole segments"
        elif isTemplate and _LITERAL.match(segment) is None:
            return f"{value!r}: the segment {segment!r} is not legal in a template"
    return None


_Check = Callable[[str], "str | None"]

_KEYS: dict[str, _Check | None] = {
    "source.ip": badAddresses,
    "remote.ip": badAddresses,
    "source.namespace": None,
    "source.serviceAccount": badServiceAccount,
    "source.principal": None,
    "source.trustDomain": badWildcard,
    "request.auth.principal": None,
    "request.auth.audiences": None,
    "request.auth.presenter": None,
    "destination.ip": badAddresses,
    "destination.port": badPortText,
    "connection.sni": None,
}
_MAPS = ("request.headers", "request.auth.claims", "experimental.envoy.filters.")

#: Every key that a condition may have.
KEYS = (*_KEYS, "request.headers[NAME]", "request.auth.claims[NAME]", "experimental.envoy.filters.NAME[KEY]")


def badCondition(key: str) -> tuple[str | None, _Check | None]:
    """
    The key of a condition.

    @return: What is wrong with it, and the check of its values.
    """
    if key.startswith(_MAPS):
        opening = key.find("[")
        if key.endswith("]") and 0 < opening < len(key) - 2:
            return None, None
        return f"{key!r} names what it looks up in brackets, as in request.headers[user-agent]", None
    if key in _KEYS:
        return None, _KEYS[key]
    return f"{key!r} is not an attribute: {', '.join(KEYS)}", None
