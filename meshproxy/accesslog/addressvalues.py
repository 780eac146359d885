# -*- test-case-name: tests.accesslog.test_addressvalues -*-
"""
Operators that show who talked to whom.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from meshproxy.accesslog.commands import Command, FormatError
from meshproxy.accesslog.inline import Inline
from meshproxy.accesslog.timeformat import compileTime
from meshproxy.accesslog.values import Value, clean, encodeText, serverName

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import Address, StreamInfo, UpstreamHostInfo

__all__ = ["ADDRESS_OPERATORS"]

Reader = Callable[["StreamInfo"], "Address | None"]


def _upstream(info: StreamInfo) -> Address | None:
    host = info.upstreamHost
    return None if host is None else host.address


def _connected(info: StreamInfo) -> Address | None:
    """
    The endpoint, if there was a connection to it.
    """
    host = info.upstreamHost
    return None if host is None or info.upstreamLocalAddress is None else host.address


def _told(source: str) -> Reader:
    """
    A reader as an expression.
    """
    return Inline(source)  # type: ignore[return-value]  # which gives an address, or none


_upstreamLocal = _told("info.upstreamLocalAddress")
_remote = _told("(info.remoteAddress or info.connection.remoteAddress)")
_directRemote = _told("(info.connection.directRemoteAddress or info.connection.remoteAddress)")
_local = _told("info.connection.localAddress")
_directLocal = _told("(info.connection.directLocalAddress or info.connection.localAddress)")


def _upstreamHost(command: Command) -> Value:
    return Inline(
        "None if (host := info.upstreamHost) is None else host.address.text",
        False,
        "{missing} if (host := info.upstreamHost) is None else {encoded}[host.address.text]",
    )


def _withPort(read: Reader) -> Callable[[Command], Value]:
    def compile(command: Command) -> Value:
        if isinstance(read, Inline):
            source = read.source
            # The addresses of peers are many: their bytes are not kept among those that come again and again.
            return Inline(
                f"None if (address := {source}) is None else address.text",
                False,
                f"{{missing}} if (address := {source}) is None else {{encode}}(address.text)",
                encode=encodeText,
            )

        def value(info: StreamInfo) -> object:
            address = read(info)
            return None if address is None else address.text

        return value

    return compile


def _withoutPort(read: Reader) -> Callable[[Command], Value]:
    def compile(command: Command) -> Value:
        if command.parameters:
            return _masked(read, command)

        def value(info: StreamInfo) -> object:
            address = read(info)
            return None if address is None else address.host

        return value

    return compile


def _masked(read: Reader, command: Command) -> Value:
    """
    C{%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(24)%}: the network instead of the address.
    """
    parameters = command.parameters or ""
    if not parameters.isdigit() or not parameters.isascii() or len(parameters) > 3 or int(parameters) > 128:
        raise FormatError(f"%{command.name}({parameters})%: {parameters!r} is not the length of a prefix")
    length = int(parameters)

    @lru_cache(1024)
    def network(host: str) -> str | None:
        try:
            return str(ipaddress.ip_network((host, length), strict=False))
        except ValueError:
            return None

    def value(info: StreamInfo) -> object:
        address = read(info)
        return None if address is None or not address.isIP else network(address.host)

    return value


def _port(read: Reader) -> Callable[[Command], Value]:
    def compile(command: Command) -> Value:
        def value(info: StreamInfo) -> object:
            address = read(info)
            return None if address is None else address.port

        return value

    return compile


def _hostName(withPort: bool) -> Callable[[Command], Value]:
    """
    The endpoint's host name, or its address where it has none.
    """

    def compile(command: Command) -> Value:
        return lambda info: None if info.upstreamHost is None else _nameOf(info.upstreamHost, withPort)

    return compile


def _nameOf(host: UpstreamHostInfo, withPort: bool) -> str:
    name = clean(getattr(host, "hostname", ""))
    if not name:
        return _addressOf(host, withPort)
    return name if withPort else name.partition(":")[0]


def _addressOf(host: UpstreamHostInfo, withPort: bool) -> str:
    return host.address.text if withPort else host.address.host


def _attempted(show: Callable[[UpstreamHostInfo, bool], str], withPort: bool = True) -> Callable[[Command], Value]:
    """
    The endpoints that there was a connection to, each once, in order.
    """

    def compile(command: Command) -> Value:
        def value(info: StreamInfo) -> object:
            hosts = list(info.upstreamHostsAttempted)
            if info.upstreamHost is not None and info.upstreamLocalAddress is not None:
                hosts.append(info.upstreamHost)
            return ",".join(dict.fromkeys(show(host, withPort) for host in hosts)) or None

        return value

    return compile


def _noEndpointId(read: Reader) -> Callable[[Command], Value]:
    """
    The id of an internal address; that of any other is empty.
    """
    return lambda command: lambda info: None if read(info) is None else ""


def _serverName(command: Command) -> Value:
    def value(info: StreamInfo) -> object:
        name = info.connection.requestedServerName
        return serverName(name) if name else None

    return value


def _upstreamServerName(command: Command) -> Value:
    def value(info: StreamInfo) -> object:
        facts = info.upstreamTls
        return serverName(facts.serverName) if facts and facts.serverName else None

    return value


def _fingerprint(attribute: str) -> Callable[[Command], Value]:
    def compile(command: Command) -> Value:
        return lambda info: getattr(info.connection, attribute) or None

    return compile


def _tls(downstream: bool, fact: str) -> Callable[[Command], Value]:
    """
    A fact about a TLS session, which the transport noted under the operator's name.
    """

    def compile(command: Command) -> Value:
        def value(info: StreamInfo) -> object:
            facts = info.connection.tls if downstream else info.upstreamTls
            found = facts.get(fact) if facts else None
            return clean(found[: command.length]) if found else None

        return value

    return compile


def _validity(downstream: bool, fact: str) -> Callable[[Command], Value]:
    """
    When the peer's certificate begins or ends to be valid, in a format of the command's.
    """
    plain = _tls(downstream, fact)

    def compile(command: Command) -> Value:
        if not command.parameters:
            return plain(command)
        render = compileTime(command.parameters)

        def value(info: StreamInfo) -> object:
            facts = info.connection.tls if downstream else info.upstreamTls
            moment = None if facts is None else facts.moment(fact)
            return None if moment is None else render(moment)

        return value

    return compile


_TLS_FACTS = tuple(f"{side}_{kind}_SAN" for side in ("PEER", "LOCAL") for kind in ("URI", "DNS", "IP", "EMAIL")) + (
    "PEER_SUBJECT",
    "LOCAL_SUBJECT",
    "PEER_ISSUER",
    "PEER_SERIAL",
    "PEER_FINGERPRINT_256",
    "PEER_FINGERPRINT_1",
    "PEER_CERT",
    "TLS_VERSION",
    "TLS_CIPHER",
    "TLS_GROUP",
    "TLS_SESSION_ID",
)

ADDRESS_OPERATORS: dict[str, Callable[[Command], Value]] = {
    "UPSTREAM_HOST": _upstreamHost,
    "UPSTREAM_HOST_NAME": _hostName(True),
    "UPSTREAM_HOST_NAME_WITHOUT_PORT": _hostName(False),
    "UPSTREAM_HOSTS_ATTEMPTED": _attempted(_addressOf),
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT": _attempted(_addressOf, False),
    "UPSTREAM_HOST_NAMES_ATTEMPTED": _attempted(_nameOf),
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT": _attempted(_nameOf, False),
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID": _noEndpointId(_connected),
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID": _noEndpointId(_local),
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID": _noEndpointId(_directLocal),
    "REQUESTED_SERVER_NAME": _serverName,
    "UPSTREAM_SERVER_NAME": _upstreamServerName,
    "TLS_JA3_FINGERPRINT": _fingerprint("ja3"),
    "TLS_JA4_FINGERPRINT": _fingerprint("ja4"),
}
for _name, _reader in {
    "UPSTREAM_REMOTE": _connected,
    "UPSTREAM_LOCAL": _upstreamLocal,
    "DOWNSTREAM_REMOTE": _remote,
    "DOWNSTREAM_DIRECT_REMOTE": _directRemote,
    "DOWNSTREAM_LOCAL": _local,
    "DOWNSTREAM_DIRECT_LOCAL": _directLocal,
}.items():
    ADDRESS_OPERATORS[f"{_name}_ADDRESS"] = _withPort(_reader)
    ADDRESS_OPERATORS[f"{_name}_ADDRESS_WITHOUT_PORT"] = _withoutPort(_reader)
    ADDRESS_OPERATORS[f"{_name}_PORT"] = _port(_reader)
for _fact in _TLS_FACTS:
    ADDRESS_OPERATORS[f"DOWNSTREAM_{_fact}"] = _tls(True, _fact)
    ADDRESS_OPERATORS[f"UPSTREAM_{_fact}"] = _tls(False, _fact)
# Envoy has no such operators of upstreams.
for _fact in (
    "PEER_OTHERNAME_SAN",
    "LOCAL_OTHERNAME_SAN",
    "PEER_CHAIN_FINGERPRINTS_256",
    "PEER_CHAIN_FINGERPRINTS_1",
    "PEER_CHAIN_SERIALS",
    "PEER_ISSUER_FINGERPRINT_256",
    "PEER_ISSUER_SERIAL",
):
    ADDRESS_OPERATORS[f"DOWNSTREAM_{_fact}"] = _tls(True, _fact)
for _fact in ("PEER_CERT_V_START", "PEER_CERT_V_END"):
    ADDRESS_OPERATORS[f"DOWNSTREAM_{_fact}"] = _validity(True, _fact)
    ADDRESS_OPERATORS[f"UPSTREAM_{_fact}"] = _validity(False, _fact)
