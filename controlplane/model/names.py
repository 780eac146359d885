# -*- test-case-name: tests.controlplane.model.test_names -*-
"""
Names, addresses, ports and times as Istio checks them. Each function gives what is wrong, or L{None}.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from ipaddress import ip_address, ip_interface

from meshproxy.config.near import didYouMean, near
from meshproxy.config.regex import RegexError, compileRegex

__all__ = [
    "BAD_RETRY_ON",
    "PROTOCOLS",
    "RETRY_ON",
    "badAddress",
    "badDomain",
    "badDuration",
    "badFQDN",
    "badGatewayHost",
    "badHeaderName",
    "badHeaderValue",
    "badLabel",
    "badLabels",
    "badPort",
    "badProtocol",
    "badRegex",
    "badRetryOn",
    "badSubnet",
    "badUnixPath",
    "isAddress",
    "isDNSLabel",
    "isHTTP",
    "isTLS",
]

#: RFC 1123, 2.1, as Istio has it: capitals are allowed.
_LABEL = r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?"
_DNS_LABEL = re.compile(_LABEL + r"\Z")
_WILDCARD_LABEL = re.compile(rf"(?:\*|(?:\*|\*-)?{_LABEL})\Z")
_QUALIFIED = r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_KEY = re.compile(rf"(?P<prefix>{_LABEL}(?:\.{_LABEL})*/)?(?P<name>{_QUALIFIED})\Z")
_LABEL_VALUE = re.compile(rf"(?:{_QUALIFIED})?\Z")

#: RFC 9110, 5.6.2, and the pseudo-header fields of RFC 9113, 8.3.
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_PSEUDO = frozenset((":method", ":scheme", ":authority", ":path", ":status"))
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*\Z")
#: Literal text, C{%%}, and C{%OPERATOR%} or C{%OPERATOR(arguments)%}.
_FORMAT = re.compile(r"(?:[^%]|%%|%[^%()]+(?:\([^)]*\)[^%()]*)?%)*\Z")

#: What a port may speak, by Istio's spelling.
PROTOCOLS = ("HTTP", "HTTP2", "HTTPS", "GRPC", "GRPC-WEB", "HTTP_PROXY", "TCP", "TLS", "UDP", "MONGO", "REDIS", "MYSQL")
_HTTP = frozenset(("HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"))
_TLS = frozenset(("HTTPS", "TLS"))

#: The conditions of Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on.
RETRY_ON = (
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
)
BAD_RETRY_ON = "is neither a condition to retry on nor an HTTP status"

#: Istio's bound: what Envoy makes of a regular expression is never smaller than its text.
_MAX_REGEX = 1024


def isDNSLabel(text: str) -> bool:
    """
    Whether a text is one label of a DNS name.
    """
    return len(text) <= 63 and _DNS_LABEL.match(text) is not None


def badLabel(text: str, what: str = "name") -> str | None:
    """
    One label of a DNS name: letters, digits and hyphens, 63 at most.
    """
    if isDNSLabel(text):
        return None
    return f"{text!r} is not a {what}: letters, digits and hyphens, at most 63, a letter or digit at both ends"


def badFQDN(text: str) -> str | None:
    """
    A DNS name of labels, the last of them not a number.
    """
    if not text or len(text) > 255:
        return "a host name has between 1 and 255 characters"
    labels = text.split(".")
    if re.fullmatch(r"[0-9]+", labels[-1]):
        return f"{text!r} is not a host name: its last label is a number"
    for index, label in enumerate(labels):
        if label == "" and index == len(labels) - 1 and index > 0:
            return None
        if not isDNSLabel(label):
            return f"{text!r} is not a host name: {label!r} is not a label of letters, digits and hyphens"
    return None


def badDomain(text: str) -> str | None:
    """
    A DNS name whose first label may be, or begin with, a wildcard.
    """
    if not text or len(text) > 255:
        return "a host name has between 1 and 255 characters"
    first, _, rest = text.partition(".")
    if len(first) > 63 or _WILDCARD_LABEL.match(first) is None:
        return f"{text!r} is not a host name: {first!r} is neither a label nor a wildcard"
    return badFQDN(rest) if "." in text else None


def badGatewayHost(text: str) -> str | None:
    """
    A host of a Gateway's server: a DNS name with dots or a wildcard, perhaps behind a namespace and a slash.
    """
    namespace, slash, host = text.rpartition("/") if "/" in text else ("", "", text)
    if slash and "/" in namespace:
        return f"{text!r} has more than one slash; it is NAMESPACE/HOST"
    if slash and namespace not in ("*", ".") and not isDNSLabel(namespace):
        return f"{text!r}: the namespace before the slash is *, . or a name, not {namespace!r}"
    if isAddress(host):
        return None
    if host != "*" and "." not in host:
        return f"{host!r} is a short name; a host here is fully qualified"
    if "*" in host and host != "*" and not host.startswith("*."):
        return f"{host!r}: a wildcard is the whole first label"
    return badDomain(host)


def isAddress(text: str) -> bool:
    """
    Whether a text is an IP address.
    """
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def badAddress(text: str) -> str | None:
    """
    An IP address.
    """
    return None if isAddress(text) else f"{text!r} is not an IP address"


def badSubnet(text: str) -> str | None:
    """
    An IP address, or a range such as 10.0.0.0/8.
    """
    try:
        ip_interface(text)
    except ValueError:
        return f"{text!r} is not an IP address, nor a range such as 10.0.0.0/8"
    return None


def badUnixPath(text: str) -> str | None:
    """
    The path of a unix socket.
    """
    if text.startswith("@") or (text.startswith("/") and not text.endswith("/")):
        return None
    return f"{text!r} is not the absolute path of a socket"


def badPort(number: int) -> str | None:
    """
    A port.
    """
    return None if 1 <= number <= 65535 else f"{number} is not a port: 1 to 65535"


def badProtocol(name: str) -> str | None:
    """
    A protocol, in any case.
    """
    if name.upper() in PROTOCOLS:
        return None
    return f"{name!r} is not a protocol: {', '.join(PROTOCOLS)}{didYouMean(near(name, PROTOCOLS, 1))}"


def isHTTP(protocol: str) -> bool:
    """
    Whether a protocol is HTTP, which routes can look into.
    """
    return protocol.upper() in _HTTP


def isTLS(protocol: str) -> bool:
    """
    Whether a protocol is TLS at its outside.
    """
    return protocol.upper() in _TLS


def badDuration(seconds: float) -> str | None:
    """
    A time of at least a millisecond, in whole milliseconds.
    """
    if seconds < 0.001:
        return f"{seconds:g}s is too short: at least 1ms"
    if abs(seconds * 1000 - round(seconds * 1000)) > 1e-6:
        return f"{seconds:g}s is not a whole number of milliseconds"
    return None


def badRegex(pattern: str) -> str | None:
    """
    A regular expression of RE2.
    """
    if not pattern:
        return "a regular expression is not empty"
    if len(pattern) > _MAX_REGEX:
        return f"a regular expression has at most {_MAX_REGEX} characters, this one {len(pattern)}"
    try:
        compileRegex(pattern)
    except RegexError as error:
        return f"{pattern!r}: {error}"
    return None


def badLabels(labels: dict[str, str]) -> str | None:
    """
    Labels of Kubernetes.
    """
    for key, value in labels.items():
        match = _LABEL_KEY.match(key)
        if match is None or len(match["prefix"] or "") > 254 or len(match["name"]) > 63:
            return f"{key!r} is not the key of a label"
        if _LABEL_VALUE.match(value) is None:
            return f"{value!r} is not the value of a label"
    return None


def badHeaderName(name: str, pseudo: bool = False) -> str | None:
    """
    The name of a header.

    @param pseudo: Whether C{:path} and its like are allowed.
    """
    if pseudo and name in _PSEUDO:
        return None
    return None if _HEADER_NAME.match(name) else f"{name!r} is not the name of a header"


def badHeaderValue(value: str) -> str | None:
    """
    The value of a header that Envoy adds, in which a percent sign begins and ends an operator.
    """
    if _HEADER_VALUE.match(value) is None:
        return f"{value!r} has characters that no header may hold"
    if _FORMAT.match(value) is None:
        return f"{value!r}: a percent sign begins and ends an operator such as %START_TIME%, or is written %%"
    return None


def badRetryOn(condition: str) -> str | None:
    """
    One condition of C{retryOn}.
    """
    if condition in RETRY_ON or (condition.isascii() and condition.isdigit() and _isStatus(condition)):
        return None
    return f"{condition!r} {BAD_RETRY_ON}"


def _isStatus(text: str) -> bool:
    return len(text) == 3 and int(text) in {status.value for status in HTTPStatus}
