# -*- test-case-name: tests.http.test_matchinputs -*-
"""
What matcher trees can look at in a stream (L{meshproxy.config.matchertree}).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshproxy.accesslog.attributes import ofStreams
from meshproxy.config.matchers import parseQuery
from meshproxy.config.matchertree import Attributes, CompileInput, Read
from meshproxy.config.section import Section
from meshproxy.config.valuematchers import lookUp
from meshproxy.net.address import Address

__all__ = ["CONNECTION_INPUTS", "REQUEST_INPUTS", "RESPONSE_INPUTS"]

_HTTP = "envoy.type.matcher.v3.Http"
_NETWORK = "envoy.extensions.matching.common_inputs.network.v3."
_TLS = "envoy.extensions.matching.common_inputs.ssl.v3."


def _requestHeader(section: Section) -> Read:
    name = section.get("header_name").lower().encode("utf-8")
    return lambda stream: stream.requestHeaders.joined(name)


def _responseHeader(section: Section) -> Read:
    name = section.get("header_name").lower().encode("utf-8")
    return lambda stream: stream.responseHeaders.joined(name)


def _queryParameter(section: Section) -> Read:
    name = section.get("query_param").encode("utf-8")
    return lambda stream: parseQuery(stream.requestHeaders.path).get(name)


def _status(section: Section) -> Read:
    return lambda stream: b"%d" % stream.responseHeaders.status


def _statusClass(section: Section) -> Read:
    return lambda stream: b"%dxx" % (stream.responseHeaders.status // 100)


def _address(find: Callable[[Any], Address | None], part: str) -> CompileInput:
    def read(stream: Any) -> bytes | None:
        address = find(stream)
        if address is None or not address.isIP:
            return None
        return str(getattr(address, part)).encode("ascii")

    return lambda section: read


def _destination(stream: Any) -> Address | None:
    address: Address | None = stream.connection.localAddress
    return address


def _source(stream: Any) -> Address | None:
    """
    The client, as C{x-forwarded-for} tells it where that is believed.
    """
    address: Address | None = getattr(stream, "remoteAddress", None) or stream.connection.remoteAddress
    return address


def _directSource(stream: Any) -> Address | None:
    address: Address | None = stream.connection.directRemoteAddress or stream.connection.remoteAddress
    return address


def _serverName(section: Section) -> Read:
    return lambda stream: stream.connection.requestedServerName.encode("utf-8") or None


def _certificate(fact: str) -> CompileInput:
    """
    What the client's certificate says; where that is several names, all in one value as Envoy writes them.
    """

    def read(stream: Any) -> bytes | None:
        tls = stream.connection.tls
        told = None if tls is None else tls.get(fact)
        return told.encode("utf-8") if told else None

    return lambda section: read


def _dynamicMetadata(section: Section) -> Read:
    name: str = section.get("filter")
    path = tuple(segment.get("key") for segment in section.children("path"))
    return lambda stream: lookUp(stream.dynamicMetadata, name, path)


def _filterState(section: Section) -> Read:
    key: str = section.get("key")

    def read(stream: Any) -> bytes | None:
        state = stream.filterState
        held = None if state is None else state.get(key)
        return None if held is None else held if isinstance(held, bytes) else str(held).encode("utf-8")

    return read


def _localReply(section: Section) -> Read:
    return lambda stream: b"true" if stream.replied else b"false"


#: What can be looked at in a connection, with or without a request.
CONNECTION_INPUTS: Mapping[str, CompileInput] = {
    _NETWORK + "DestinationIPInput": _address(_destination, "host"),
    _NETWORK + "DestinationPortInput": _address(_destination, "port"),
    _NETWORK + "SourceIPInput": _address(_source, "host"),
    _NETWORK + "SourcePortInput": _address(_source, "port"),
    _NETWORK + "DirectSourceIPInput": _address(_directSource, "host"),
    _NETWORK + "ServerNameInput": _serverName,
    _TLS + "UriSanInput": _certificate("PEER_URI_SAN"),
    _TLS + "DnsSanInput": _certificate("PEER_DNS_SAN"),
    _TLS + "SubjectInput": _certificate("PEER_SUBJECT"),
}

#: What can be looked at in a request.
REQUEST_INPUTS: Mapping[str, CompileInput] = {
    **CONNECTION_INPUTS,
    _HTTP + "RequestHeaderMatchInput": _requestHeader,
    _HTTP + "RequestQueryParamMatchInput": _queryParameter,
    _NETWORK + "DynamicMetadataInput": _dynamicMetadata,
    _NETWORK + "FilterStateInput": _filterState,
    "xds.type.matcher.v3.HttpAttributesCelMatchInput": Attributes(ofStreams),
}

#: What can be looked at when there is a response.
RESPONSE_INPUTS: Mapping[str, CompileInput] = {
    **REQUEST_INPUTS,
    _HTTP + "ResponseHeaderMatchInput": _responseHeader,
    _HTTP + "ResponseStatusCodeMatchInput": _status,
    _HTTP + "ResponseStatusCodeClassMatchInput": _statusClass,
    _HTTP + "ResponseLocalReplyMatchInput": _localReply,
}
