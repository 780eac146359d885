# -*- test-case-name: tests.routing.test_hosts -*-
"""
From the authority of a request to its virtual host: the exact domain, the longest C{*.suffix}, the longest
C{prefix.*}, then C{*}.

Suffixes and prefixes stand in one dictionary for each length that occurs, longest first, so that the number of
virtual hosts does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["DomainTable", "withoutPort"]

T = TypeVar("T")


def withoutPort(authority: bytes) -> bytes:
    """
    An authority without its port. The colons of a bracketed IPv6 address are none.
    """
    colon = authority.rfind(b":")
    if colon < 0 or authority.find(b"]", colon) >= 0:
        return authority
    return authority[:colon]


class DomainTable(Generic[T]):
    """
    Domains of virtual hosts, gathered at compile time.
    """

    def __init__(self) -> None:
        self._exact: dict[bytes, T] = {}
        self._suffixes: dict[int, dict[bytes, T]] = {}
        self._prefixes: dict[int, dict[bytes, T]] = {}
        self._default: T | None = None

    def add(self, domain: str, value: T) -> bool:
        """
        Add a domain.

        @return: False if it is there already, in any case of its letters.
        """
        key = domain.lower().encode("utf-8")
        if key == b"*":
            if self._default is not None:
                return False
            self._default = value
            return True
        if key[:1] == b"*":
            domains, key = self._suffixes.setdefault(len(key) - 1, {}), key[1:]
        elif key[-1:] == b"*":
            domains, key = self._prefixes.setdefault(len(key) - 1, {}), key[:-1]
        else:
            domains = self._exact
        if key in domains:
            return False
        domains[key] = value
        return True

    def onlyDefault(self) -> T | None:
        """
        The value of C{*} where there is no other domain: nothing has to be looked up then.
        """
        return None if self._exact or self._suffixes or self._prefixes else self._default

    def compileLookup(self, ignorePort: bool = False) -> Callable[[bytes], T | None]:
        """
        Build the look-up.

        @param ignorePort: C{ignore_port_in_host_matching}: the port of the request does not count. A domain that
            has one matches nothing then, as in Envoy.
        """
        exact = self._exact.get
        suffixes = tuple(sorted(self._suffixes.items(), reverse=True))
        prefixes = tuple(sorted(self._prefixes.items(), reverse=True))
        default = self._default

        def wildcard(host: bytes) -> T | None:
            size = len(host)
            # Strictly longer: "*.a.com" is not for ".a.com".
            for length, domains in suffixes:
                if length < size:
                    found = domains.get(host[size - length :])
                    if found is not None:
                        return found
            for length, domains in prefixes:
                if length < size:
                    found = domains.get(host[:length])
                    if found is not None:
                        return found
            return default

        def lookup(authority: bytes) -> T | None:
            host = authority.lower()
            if ignorePort:
                host = withoutPort(host)
            found = exact(host)
            return wildcard(host) if found is None else found

        return lookup
