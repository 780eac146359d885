# -*- test-case-name: tests.secrets.test_names -*-
"""
Which names in a peer's certificate are good enough: C{SubjectAltNameMatcher}, and names that follow a request's host.

Each matcher looks at names of its own type only (CVE-2022-21656), a wildcard stands for exactly one label, the leftmost
(CVE-2020-15104), and names are compared whole, whatever is in them (CVE-2025-66220).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from cryptography import x509

from meshproxy.config import Section
from meshproxy.config.matchers import BytesTest, compileStringMatcher
from meshproxy.net.certificates import AltNames, altNames, derText

__all__ = ["NamesTest", "compileAltNameMatchers", "dnsNameMatches", "isNamed"]

#: Whether one of the names is good enough.
NamesTest = Callable[[AltNames], bool]


def dnsNameMatches(pattern: str, name: str) -> bool:
    """
    Whether a DNS name of a certificate, which may begin with C{*.}, is that of a host (RFC 9525, 6.3).
    """
    pattern, name = pattern.lower(), name.lower()
    if "\0" in pattern or "\0" in name:
        return False
    if pattern == name:
        return True
    if not pattern.startswith("*."):
        return False
    label, dot, rest = name.partition(".")
    return bool(label and dot) and rest == pattern[2:] and "*" not in pattern[2:]


def compileAltNameMatchers(sections: Sequence[Section], untyped: Sequence[Section] = ()) -> NamesTest | None:
    """
    Compile C{match_typed_subject_alt_names}, of which one must match.

    @param untyped: The older C{match_subject_alt_names}, each of which looks at DNS names, URIs, mail and IP addresses.

    @return: L{None} where there are none.
    """
    tests = [test for test in map(_compile, sections) if test is not None]
    tests += map(_compileUntyped, untyped)
    if not sections and not untyped:
        return None
    return lambda names: any(test(names) for test in tests)


def _compile(section: Section) -> NamesTest | None:
    kind = section.get("san_type")
    held = section.childOrEmpty("matcher")
    test = compileStringMatcher(held)
    if kind == "DNS":
        return _dnsTest(held, test)
    if kind == "URI":
        return lambda names: _any(test, names.uris)
    if kind == "EMAIL":
        return lambda names: _any(test, names.emails)
    if kind == "IP_ADDRESS":
        return lambda names: _any(test, names.ips)
    if kind == "OTHER_NAME":
        return _otherTest(section, test)
    section.refuse("one of EMAIL, DNS, URI, IP_ADDRESS, OTHER_NAME is needed", "san_type")
    return None


def _compileUntyped(section: Section) -> NamesTest:
    test = compileStringMatcher(section)
    isDNS = _dnsTest(section, test)
    return lambda names: isDNS(names) or any(_any(test, each) for each in (names.uris, names.emails, names.ips))


def _any(test: BytesTest, names: Sequence[str]) -> bool:
    # No name has a NUL in it but to deceive.
    return any("\0" not in name and test(name.encode("utf-8", "surrogateescape")) for name in names)


def _dnsTest(held: Section, test: BytesTest) -> NamesTest:
    if held.oneof("match_pattern") == "exact":
        # As in Envoy, a wildcard in the certificate stands for a label only where the matcher asks for a whole name.
        wanted: str = held.get("exact")
        return lambda names: any(dnsNameMatches(each, wanted) for each in names.dns)
    return lambda names: _any(test, names.dns)


def _otherTest(section: Section, test: BytesTest) -> NamesTest | None:
    oid = section.get("oid")
    if not oid:
        section.refuse("OTHER_NAME needs the object identifier of the names", "oid")
        return None
    return lambda names: any(kind == oid and test(derText(value)) for kind, value in names.others)


def isNamed(certificate: x509.Certificate, host: str) -> bool:
    """
    Whether a certificate is for a host: an IP address, or a name.
    """
    names = altNames(certificate)
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        return any(dnsNameMatches(each, host) for each in names.dns)
    return address in names.ips
