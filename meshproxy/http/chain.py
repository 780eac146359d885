# -*- test-case-name: tests.http.test_chain -*-
"""
The HTTP filter chain, compiled: for each event a tuple of the methods that want it, and nothing else.

Filters that share one instance among streams are bound here, once. Where a chain has filters that want an instance for
each stream, L{FilterChain.begin} makes them and binds their methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.http.passage import Passage, compilePassage, passEachInRequest, passEachInResponse

if TYPE_CHECKING:
    from meshproxy.http.passing import PassingStream

__all__ = ["EMPTY_CHAIN", "ChainLink", "FilterChain"]

# The events, each with the order in which filters see it: requests down the chain, responses up.
_REQUEST = ("requestHeaders", "requestData", "requestTrailers")
_RESPONSE = ("responseHeaders", "responseData", "responseTrailers")


@dataclass(frozen=True, slots=True)
class ChainLink:
    """
    One filter of a chain.

    @ivar config: What C{filterClass.compileConfig} made.
    @ivar disabled: Whether it takes part only in routes that enable it.
    """

    filterClass: type[HTTPFilter]
    config: Any
    context: FilterContext
    disabled: bool = False

    def make(self) -> HTTPFilter:
        """
        An instance.
        """
        return self.filterClass(self.config, self.context)


Method = Callable[..., Any]


class FilterChain:
    """
    What a stream runs.

    Each of the first six attributes is a tuple of bound methods in the order in which they are called; each of the six
    that end in C{Places} tells, for each method, which filter of the chain it belongs to, counted from the end where
    the direction begins.

    @ivar passesCalls: Whether each method of C{requestData} before that of the terminal filter lets all pass, and all
        streams share the filters.
    @ivar viewCall: Shows a whole body to these methods, by stream, body and L{True}; L{None} where there is none.
    @ivar passesAnswers: Whether each of C{responseData} and C{responseTrailers} does.
    @ivar viewAnswer: Shows them all of an answer then, by stream, body and trailers; L{None} where there is none.
    @ivar heedsBody: The methods of that name, of those filters that have C{responseData}; L{None} where one does not
        tell.
    @ivar streamEnded: The methods of that name, in any order; but for those that stand in C{rememberedEnded}, for
        streams that were to be remembered.
    @ivar passRequestHeaders: Lets all of C{requestHeaders} see a head; C{passResponseHeaders} likewise.
    """

    __slots__ = (
        "_links",
        "_made",
        "_variants",
        "heedsBody",
        "passRequestHeaders",
        "passResponseHeaders",
        "passesAnswers",
        "passesCalls",
        "perStream",
        "rememberedEnded",
        "requestData",
        "requestDataPlaces",
        "requestHeaders",
        "requestHeadersPlaces",
        "requestTrailers",
        "requestTrailersPlaces",
        "responseData",
        "responseDataPlaces",
        "responseHeaders",
        "responseHeadersPlaces",
        "responseTrailers",
        "responseTrailersPlaces",
        "streamEnded",
        "viewAnswer",
        "viewCall",
    )

    requestHeaders: tuple[Method, ...]
    requestData: tuple[Method, ...]
    requestTrailers: tuple[Method, ...]
    responseHeaders: tuple[Method, ...]
    responseData: tuple[Method, ...]
    responseTrailers: tuple[Method, ...]
    requestHeadersPlaces: tuple[int, ...]
    requestDataPlaces: tuple[int, ...]
    requestTrailersPlaces: tuple[int, ...]
    responseHeadersPlaces: tuple[int, ...]
    responseDataPlaces: tuple[int, ...]
    responseTrailersPlaces: tuple[int, ...]
    heedsBody: tuple[Method, ...] | None
    streamEnded: tuple[Method, ...]
    rememberedEnded: tuple[Method, ...]
    passesCalls: bool
    viewCall: Method | None
    passesAnswers: bool
    viewAnswer: Callable[[Any, bytes, HeaderMap], None] | None
    passRequestHeaders: Passage
    passResponseHeaders: Passage

    def __init__(self, links: Sequence[ChainLink]) -> None:
        """
        @param links: The filters as configured, the terminal one last.
        """
        self._links = tuple(links)
        self._variants: dict[int, tuple[Mapping[str, bool], FilterChain]] = {}
        enabled = [link for link in links if not link.disabled]
        self._made = [link.make() if link.filterClass.shared else link for link in enabled]
        self.perStream = any(isinstance(made, ChainLink) for made in self._made)
        self._bind([made for made in self._made if isinstance(made, HTTPFilter)] if not self.perStream else [])
        self.passesCalls = self.passesCalls and not self.perStream
        # Most chains of a mesh never see a stream: the functions are made for the first one that comes.
        self.passRequestHeaders = _passFirstInRequest
        self.passResponseHeaders = _passFirstInResponse

    def _bind(self, filters: Sequence[HTTPFilter]) -> None:
        for event in _REQUEST:
            self._bindEvent(event, list(enumerate(filters)))
        for event in _RESPONSE:
            self._bindEvent(event, list(enumerate(filters[::-1])))
        viewers = [f for f in filters if _defines(type(f), "requestData") and not f.terminal]
        self.passesCalls = all(f.passesAll for f in viewers)
        self.viewCall = None
        if viewers and self.passesCalls:
            views = tuple(f.requestData for f in viewers)
            self.viewCall = views[0] if len(views) == 1 else partial(_viewEach, views)
        viewers = [f for f in filters if _defines(type(f), "responseData") or _defines(type(f), "responseTrailers")]
        self.passesAnswers = all(f.passesAll for f in viewers)
        self.viewAnswer = None
        if viewers and self.passesAnswers:
            inTurn = partial(_viewInTurn, self.responseData, self.responseTrailers)
            self.viewAnswer = viewers[0].answerPassed if len(viewers) == 1 else inTurn
        looking = [f for f in filters if _defines(type(f), "responseData")]
        tells = all(_defines(type(f), "heedsBody") for f in looking)
        self.heedsBody = tuple(f.heedsBody for f in looking) if tells else None
        ending = [f for f in filters if _defines(type(f), "streamEnded")]
        self.streamEnded = tuple(f.streamEnded for f in ending if not f.remembers)
        self.rememberedEnded = tuple(f.streamEnded for f in ending if f.remembers)

    def _bindEvent(self, event: str, numbered: list[tuple[int, HTTPFilter]]) -> None:
        wanting = [(place, f) for place, f in numbered if _defines(type(f), event)]
        setattr(self, event, tuple(getattr(f, event) for _, f in wanting))
        setattr(self, event + "Places", tuple(place for place, _ in wanting))

    def begin(self) -> FilterChain:
        """
        The chain for one stream, with instances of its own where filters want them.
        """
        if not self.perStream:
            return self
        chain = FilterChain.__new__(FilterChain)
        chain._bind([made.make() if isinstance(made, ChainLink) else made for made in self._made])
        # To compile it would pay for thousands of streams, and it has one.
        chain.passRequestHeaders = passEachInRequest
        chain.passResponseHeaders = passEachInResponse
        return chain

    def variant(self, changes: Mapping[str, bool]) -> FilterChain:
        """
        The chain for a route that disables filters, or enables those that are disabled. What such chains are to share
        is in the filters' compiled configuration.

        @param changes: Filter name to whether the route disables it; a mapping that lives, unchanged, as long as its
            route, and by which the variant is remembered.
        """
        known = self._variants.get(id(changes))
        if known is None:
            links = tuple(replace(link, disabled=changes.get(link.context.name, link.disabled)) for link in self._links)
            isSame = links == self._links and not any(
                link.filterClass.variesByRoute and link.context.name in changes for link in links
            )
            known = self._variants[id(changes)] = (changes, self if isSame else FilterChain(links))
        return known[1]

    @property
    def links(self) -> Sequence[ChainLink]:
        """
        All filters, disabled ones included.
        """
        return self._links

    @property
    def names(self) -> list[str]:
        """
        The names of all filters, disabled ones included.
        """
        return [link.context.name for link in self._links]


def _defines(filterClass: type[HTTPFilter], event: str) -> bool:
    return getattr(filterClass, event) is not getattr(HTTPFilter, event)


def _viewEach(views: tuple[Method, ...], stream: Any, body: bytes, endStream: bool) -> None:
    """
    Show a body to several filters.
    """
    for view in views:
        view(stream, body, endStream)


def _viewInTurn(
    data: tuple[Method, ...], trailing: tuple[Method, ...], stream: Any, body: bytes, trailers: HeaderMap
) -> None:
    """
    Show an answer to several filters: what each sees does not depend on how it came.
    """
    for viewData in data:
        viewData(stream, body, False)
    for viewTrailers in trailing:
        viewTrailers(stream, trailers)


def _passFirstInRequest(stream: PassingStream, headers: RequestHeaders, endStream: bool) -> bool:
    """
    Make the function for the requests of a chain, and use it.
    """
    chain = stream.chain
    chain.passRequestHeaders = made = compilePassage(chain.requestHeaders, chain.requestHeadersPlaces, True)
    return made(stream, headers, endStream)


def _passFirstInResponse(stream: PassingStream, headers: ResponseHeaders, endStream: bool) -> bool:
    """
    The same for its responses.
    """
    chain = stream.chain
    chain.passResponseHeaders = made = compilePassage(chain.responseHeaders, chain.responseHeadersPlaces, False)
    return made(stream, headers, endStream)


EMPTY_CHAIN = FilterChain(())
"""
The chain of a stream that no filter ever sees.
"""
