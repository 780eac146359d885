# -*- test-case-name: tests.test_interfaces -*-
"""
Every public interface: what a filter is, how it is found, and what of the outside world the data plane needs.

Start with L{IHTTPFilter}; L{meshproxy.http.filter.HTTPFilter} is the base class that implements all of it as
"nothing to do".
"""

# Interface methods have no C{self}, and nothing to return.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from zope.interface import Attribute, Interface

__all__ = [
    "IAcceptedSocket",
    "ICancellable",
    "IClusterSpecifier",
    "IExplainer",
    "IFilterFactory",
    "IHTTPFilter",
    "IHTTPStream",
    "IIncomingConnection",
    "IListenerFilter",
    "IListening",
    "INetwork",
    "INetworkConnection",
    "INetworkFilter",
    "IUpstreamCalls",
    "MORE",
    "More",
    "STOP",
    "Stop",
]


class Stop:
    """
    The type of L{STOP}.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "STOP"


STOP = Stop()
"""
What a filter answers to keep an event, and all that follows it in that direction, until it says C{resume}.
"""


class More:
    """
    The type of L{MORE}.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "MORE"


MORE = More()
"""
What a listener filter answers to be asked again when more bytes came.
"""


class IFilterFactory(Interface):
    """
    A filter as a plugin tells about it: enough to be listed and chosen, without its module being imported.

    L{meshproxy.plugins.FilterPlugin} is the usual implementation. Plugins are found by
    C{getPlugins(IFilterFactory, meshproxy.plugins)}.
    """

    name: str = Attribute("""
        The filter's name, C{envoy.filters.http.fault} for example; a C{TypedStruct} names it in C{type_url}.
        """)

    kind: str = Attribute("""
        C{"http"}, C{"network"} or C{"listener"}.
        """)

    configTypes: tuple[str, ...] = Attribute("""
        Full names of the protobuf messages by which a C{typed_config} selects it; empty for one that takes a
        C{TypedStruct}.
        """)

    module: str = Attribute("""
        The module that holds the filter's class, to reload it.
        """)

    def load() -> type:
        """
        The filter's class; its module is imported on the first call.

        @raise Exception: Whatever the import raises; it is shown to who configured the filter.
        """


class IExplainer(Interface):
    """
    Who knows what becomes of a request under Envoy's configuration.

    It is found as a plugin, by C{getPlugins(IExplainer, meshproxy.plugins)}: so may also ask whoever imports nothing of
    what serves requests.
    """

    def explain(
        listeners: Mapping[str, bytes],
        routes: Mapping[str, bytes],
        clusters: Mapping[str, bytes],
        bootstrapClusters: Iterable[str],
        request: Mapping[str, Any],
    ) -> dict[str, Any]:
        """
        What would become of a request at a proxy that was sent some resources, as C{/explain} of its admin tells it in
        JSON. What cannot be judged here is listed as C{not_judged}.

        @param listeners: Serialized messages by name; C{routes} and C{clusters} likewise.
        @param bootstrapClusters: The names of clusters that its bootstrap has.
        @param request: The arguments of L{meshproxy.admin.explain.question.askedIn}.

        @raise ValueError: If that is no request; its text says what would be.
        """


class IHTTPFilter(Interface):
    """
    One filter of an HTTP filter chain.

    Each event may be answered with L{None} (go on), L{STOP} (hold this event and all that follow in its direction until
    C{stream.resumeRequest()} or C{stream.resumeResponse()}), or something to wait for: a coroutine (an C{async def}
    method gives one), a Deferred, or an asyncio future. Data events may also answer with C{bytes}, which replace the
    data; events of trailers likewise, and these bytes go on before the trailers. A filter that calls
    C{stream.reply(...)} ends the request's way there.

    What a filter raises ends that stream with a 500, is counted and logged, and disturbs nothing else.
    """

    def requestHeaders(stream: IHTTPStream, headers: Any, endStream: bool) -> object:
        """
        The head of the request.

        @param headers: A L{meshproxy.headers.RequestHeaders}, to read and to change.
        @param endStream: Whether the request has neither body nor trailers.
        """

    def requestData(stream: IHTTPStream, data: bytes, endStream: bool) -> object:
        """
        A piece of the request's body.
        """

    def requestTrailers(stream: IHTTPStream, trailers: Any) -> object:
        """
        The request's trailers, a L{meshproxy.headers.HeaderMap}; they end it.
        """

    def responseHeaders(stream: IHTTPStream, headers: Any, endStream: bool) -> object:
        """
        The head of the response, a L{meshproxy.headers.ResponseHeaders}, of the upstream or of a local reply.
        """

    def responseData(stream: IHTTPStream, data: bytes, endStream: bool) -> object:
        """
        A piece of the response's body.
        """

    def responseTrailers(stream: IHTTPStream, trailers: Any) -> object:
        """
        The response's trailers; they end it.
        """

    def streamEnded(stream: IHTTPStream) -> None:
        """
        The stream is over, whether it was answered or not. Called once; nothing can be sent any more.
        """


class IHTTPStream(Interface):
    """
    One request and its response, as filters see it. It is also the record that access logs are written from: see
    L{meshproxy.accesslog.streaminfo.StreamInfo} for its many readable attributes.
    """

    requestHeaders: Any = Attribute("The L{meshproxy.headers.RequestHeaders}.")
    responseHeaders: Any = Attribute("The L{meshproxy.headers.ResponseHeaders}, or L{None} before there are any.")
    route: Any = Attribute("The L{meshproxy.routing.Route} that was chosen, or L{None}.")
    connection: Any = Attribute("The downstream L{meshproxy.accesslog.streaminfo.ConnectionInfo}.")
    dynamicMetadata: dict[str, dict[str, object]] = Attribute("Name space to key to value; Envoy's dynamic metadata.")
    filterState: dict[str, object] = Attribute("Key to object, shared by the filters of this stream.")
    answersGRPC: bool | None = Attribute("""
        Whether local replies are gRPC's, for a filter to say that made something else of the request than the client
        sent; L{None} where the request tells.
        """)

    def reply(
        status: int,
        body: bytes = b"",
        headers: Iterable[tuple[bytes, bytes]] = (),
        details: str = "",
        flags: int = 0,
    ) -> Stop:
        """
        Answer the request here: a local reply. Filters that stand before this one see it as a response.

        @param details: The response code details of the access log.
        @param flags: Response flags (L{meshproxy.flags}) for the access log.

        @return: L{STOP}, to be returned by the filter.
        """

    def resumeRequest() -> None:
        """
        Let the request's events go on that a L{STOP} held.
        """

    def resumeResponse() -> None:
        """
        Let the response's events go on that a L{STOP} held.
        """

    def requestBody(limit: int = 0, partial: bool = False) -> Any:
        """
        Read the whole body of the request before it goes on; only while the request's head is with the filter.

        @param limit: Bytes; by default the connection's buffer limit. A longer body is answered with 413.
        @param partial: Give what has come of a longer body as soon as it is longer, instead. It cannot be replaced
            then.

        @return: A Deferred of C{bytes}. The body is still sent on; L{replaceRequestBody} changes it.
        """

    def replaceRequestBody(body: bytes) -> None:
        """
        Send another body on than the one that L{requestBody} gave; C{content-length} is set to fit.
        """

    def responseBody(limit: int = 0, partial: bool = False) -> Any:
        """
        Read the whole body of the response before it goes on; only while the response's head is with the filter. A
        longer body than C{limit} is answered with 500.

        @param partial: As of L{requestBody}.
        """

    def replaceResponseBody(body: bytes) -> None:
        """
        Send another body on than the one that L{responseBody} gave; C{content-length} is set to fit.
        """

    def clearRouteCache() -> None:
        """
        Choose the route again, after a filter changed what it is chosen by.
        """

    def remember() -> None:
        """
        Tell filters that say C{remembers = True} (L{meshproxy.http.filter.HTTPFilter}) of the end of this stream.
        """

    def routeConfig(name: str) -> Any:
        """
        The most specific configuration of a filter for this route, or L{None}.
        """

    def beginAgain(response: Any, body: bytes = b"", trailers: Any = None) -> None:
        """
        End without an answer, and let another stream take over, from the first filter on, with the request's head as
        it is now. Only for a request that came to its end; what the filter state holds goes along.

        @param response: The L{meshproxy.headers.ResponseHeaders} that are the reason.
        @param body: The body to send along, and the C{trailers}.
        """

    def reset() -> None:
        """
        End the stream without an answer; an HTTP/1 connection closes.
        """


class IUpstreamCalls(Interface):
    """
    Requests that filters make on their own account, through the pools of the clusters.
    """

    def call(cluster: str, headers: Any, body: bytes = b"", timeout: float = 5.0, limit: int = 0) -> Any:
        """
        Send a request to a cluster.

        @param headers: The L{meshproxy.headers.RequestHeaders} to send.
        @param timeout: Seconds for all of it.
        @param limit: How many bytes of body to take; by default the cluster's buffer limit.

        @return: A Deferred of a L{meshproxy.http.calls.CallResponse}, which fails with an
            L{meshproxy.errors.UpstreamError} or L{meshproxy.errors.LimitExceeded}. Cancelling it ends the call.
        """


class IIncomingConnection(Interface):
    """
    A connection that was accepted and has no filter chain yet, as listener filters see it.

    What they find out is held against the filter chain matches, and shown by access logs.
    """

    info: Any = Attribute("""
        Its L{meshproxy.accesslog.streaminfo.ConnectionInfo}; a filter may set C{remoteAddress} and C{localAddress}.
        """)

    state: Any = Attribute("""
        Whatever the filter that is asked wants to remember of this connection; L{None} to begin with.
        """)

    facts: Any = Attribute("""
        The L{meshproxy.listener.matching.ConnectionFacts}: C{serverName}, C{transportProtocol} and
        C{applicationProtocols} are for filters to set.
        """)

    def originalDestination() -> Any:
        """
        Where the connection was made to before the kernel's packet filter sent it here.

        @return: A L{meshproxy.net.address.Address}; L{None} where nobody knows of another.
        """

    def consume(size: int) -> None:
        """
        Take the first bytes off the connection: neither later filters nor the filter chain see them. Only bytes that
        the filter has been shown can be taken.
        """

    def resume() -> None:
        """
        Go on after a L{STOP}, with the next filter.
        """

    def close(details: str = "") -> None:
        """
        Close the connection; it gets no filter chain.

        @param details: The connection termination details of the access log.
        """


class IClusterSpecifier(Interface):
    """
    What chooses the cluster of a route (C{cluster_specifier_plugin}); one serves all requests of its route.
    """

    def chooseCluster(headers: Any, stream: Any) -> str:
        """
        Choose, when the route of a request is chosen and no filter has seen it yet.

        What it raises is logged, and there is no cluster.

        @param headers: The head of the request, to be read and not to be changed.
        @param stream: What else is known of it: a L{meshproxy.accesslog.streaminfo.StreamInfo}.

        @return: The name of the cluster. Where there is no such cluster, or the name is empty, the client gets what
            C{cluster_not_found_response_code} says.
        """


class IListenerFilter(Interface):
    """
    One listener filter of a listener; it serves all of its connections.

    What it raises closes that connection, is logged, and disturbs nothing else.
    """

    maxBytes: int = Attribute("""
        How many bytes of a connection it looks at, at most; 0 for none: it is then asked as soon as a connection is
        there. It has to decide when it is shown that many.
        """)

    def inspect(connection: IIncomingConnection, data: bytes) -> object:
        """
        Look at the beginning of a connection. Unless the filter consumes them, the bytes stay where they are.

        @param data: All that came until now, and was not consumed by filters before this one.

        @return: L{None} to go on with the next filter, L{MORE} to be asked again when more came, or L{STOP} to wait
            for C{connection.resume()}. After C{connection.close()} it does not matter.
        """

    def stop() -> None:
        """
        The listener is gone: give up what is held.
        """


class INetworkConnection(Interface):
    """
    A downstream connection, as network filters see it.
    """

    info: Any = Attribute("Its L{meshproxy.accesslog.streaminfo.ConnectionInfo}.")
    transport: Any = Attribute("The transport to write to.")

    def resumeReading() -> None:
        """
        Let go on what a L{STOP} held.
        """

    def ignoreData(networkFilter: INetworkFilter) -> None:
        """
        A filter has seen enough: bytes go past it from now on, at no cost when no filter looks at them any more.
        """

    def close(reason: str = "", details: str = "", flags: int = 0) -> None:
        """
        Close at once.

        @param reason: For C{%DOWNSTREAM_LOCAL_CLOSE_REASON%}.
        @param details: The connection termination details of the access log.
        @param flags: Response flags (L{meshproxy.flags}) for the access log.
        """


class INetworkFilter(Interface):
    """
    One filter of a network filter chain, before the terminal one; each connection has its own instance.

    What it raises closes the connection, is logged, and disturbs nothing else.
    """

    seesData: bool = Attribute("""
        Whether L{dataReceived} wants to be called. Bytes that no filter wants to see move faster.
        """)

    def connectionMade(connection: INetworkConnection) -> object:
        """
        The connection is there. L{None} goes on, L{STOP} holds the filters that come later, the terminal one among
        them, until C{connection.resumeReading()}.
        """

    def dataReceived(data: bytes) -> object:
        """
        Bytes from downstream. L{None} passes them on, C{bytes} pass on instead of them, L{STOP} holds them until
        C{connection.resumeReading()}.
        """

    def readConnectionLost() -> None:
        """
        The downstream peer finished writing. Told to filters that want to see data.
        """

    def connectionLost(reason: Any) -> None:
        """
        The connection is gone.
        """


class ICancellable(Interface):
    """
    Something under way that may be given up.
    """

    def cancel() -> None:
        """
        Give it up; it calls nobody any more.
        """


class IListening(Interface):
    """
    A bound address.
    """

    address: Any = Attribute("The L{meshproxy.net.address.Address} where it listens.")

    def stopListening() -> None:
        """
        Accept no more, and unbind.
        """


class IAcceptedSocket(Interface):
    """
    A socket that was accepted and belongs to no transport yet.
    """

    socket: Any = Attribute("The socket itself, for a transport that is made of it.")
    reactor: Any = Attribute("Whose turns move its bytes.")
    peerAddress: Any = Attribute("The L{meshproxy.net.address.Address} of its peer.")
    localAddress: Any = Attribute("The L{meshproxy.net.address.Address} of this end.")

    def peek(size: int) -> bytes | None:
        """
        See the first bytes that wait to be read; they stay where they are.

        @return: At most that many; L{None} if none came yet, empty if none ever will.

        @raise OSError: If the connection is broken.
        """

    def consume(size: int) -> None:
        """
        Read as many bytes, which were peeked at before, and forget them.

        @raise OSError: If the connection is broken.
        """

    def watch(arrived: Callable[[bool], object]) -> None:
        """
        Be told each time that more came, or that the peer finished (called with true then). What is there now counts.
        """

    def forget() -> None:
        """
        Be told no more; also if nobody was.
        """

    def begin(protocol: Any, bufferLimit: int) -> None:
        """
        Give it a transport that leaves the bytes as they are, and that to its protocol.

        @param bufferLimit: Bytes above which the producer of an unsent buffer is paused.
        """

    def roundTripTime() -> float | None:
        """
        How many seconds it takes to the peer and back, as the operating system measured it last, and when the
        connection is gone, as it was told last; L{None} where that is not known.
        """

    def close(withReset: bool = False) -> None:
        """
        Close it.
        """


class INetwork(Interface):
    """
    The outside world: sockets on a reactor, or a network in memory for tests.
    """

    def listen(
        address: Any,
        buildProtocol: Callable[[Any], Any],
        backlog: int = 1024,
        mode: int = 0,
        bufferLimit: int = 1048576,
    ) -> IListening:
        """
        Accept connections.

        @param buildProtocol: From a peer's address to a protocol; L{None} closes the connection at once.
        @param mode: Permissions of a unix socket; 0 leaves them to the umask.
        @param bufferLimit: Bytes above which the producer of an unsent buffer is paused.

        @raise twisted.internet.error.CannotListenError: If the address cannot be bound.
        """

    def accept(
        address: Any, accepted: Callable[[Any], object], backlog: int = 1024, mode: int = 0, options: Any = None
    ) -> IListening:
        """
        Accept connections that get their transports later.

        @param accepted: Called with an L{IAcceptedSocket}, which is the callee's from then on.
        @param options: A L{meshproxy.net.listenoptions.ListenOptions}.

        @raise twisted.internet.error.CannotListenError: If the address cannot be bound.
        """

    def connect(
        address: Any,
        protocol: Any,
        failed: Callable[[Exception], object],
        timeout: float = 5.0,
        bufferLimit: int = 1048576,
        options: Any = None,
    ) -> ICancellable:
        """
        Connect.

        @param protocol: Its C{makeConnection} is called when it is connected, never from within this call.
        @param failed: Called instead with a L{meshproxy.errors.UpstreamError}.
        """

    def datagrams(address: Any) -> Any:
        """
        Send datagrams, which may be lost.

        @return: Something with C{send(data)} and C{close()}.
        """

    def resolve(host: str, family: str = "AUTO", needsTTL: bool = False, servers: Any = None) -> Any:
        """
        Find the addresses of a host.

        @param needsTTL: Whether the list shall say how long it holds: its C{ttl}, in seconds.
        @param servers: The L{NameServers<meshproxy.net.dns.NameServers>} to ask; L{None} for the machine's own.

        @return: A Deferred of a list of addresses in text.
        """
