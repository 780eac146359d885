"""
Where this proxy is to differ from Envoy.

Each reason is a heading of C{docs/development/differences.md}, which says why. A case that does not differ any more in
all of its parts fails, so that this list stays true.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DIFFERENCES", "Difference", "meantParts"]


@dataclass(frozen=True)
class Difference:
    """
    A difference that is meant.

    @ivar reason: The heading.
    @ivar parts: What differs: what the C{client} sees, what the C{upstream} sees, the access C{log}.
    @ivar cases: The names of the cases that show it.
    """

    reason: str
    parts: tuple[str, ...]
    cases: tuple[str, ...]


DIFFERENCES = (
    Difference(
        "gRPC-Web in text ends",
        ("client", "log"),
        ("cut_text_web", "noTrailers_text_web", "web_text_web", "webParameter_text_web"),
    ),
    Difference("HTTP/2 to the letter", ("client", "upstream", "log"), ("hostOther",)),
    Difference("Hosts are looked up by the filter", ("client", "log"), ("forward_unfiltered",)),
    Difference("Copies are sent once", ("upstream",), ("copyCopied", "copyTwice")),
    Difference("HTTP/2 to the letter", ("client", "log"), ("frame_windowOverflow", "frame_zeroIncrement")),
    Difference("WebSocket handshakes are whole", ("upstream",), ("socket", "socketRefused")),
    Difference("HTTP/2 to the letter", ("client", "upstream", "log"), ("frame_priorityOfItself_once",)),
    Difference("HTTP/2 to the letter", ("upstream",), ("around_trailersLength_once", "frame_updateZeroStream_once")),
    Difference(
        "Interim responses pass", ("client",), ("answer_early", "around_interims_once", "early103", "filtered103")
    ),
    Difference(
        "Interim responses pass",
        ("client", "log"),
        tuple(
            f"end_interim_{end}_once"
            for end in (
                *("closed", "resetTCP", "finished", "notServed", "notServedCalm"),
                *("leavesAndCloses", "failsAndCloses"),
            )
        ),
    ),
    Difference("Strict responses", ("client", "log"), ("malformed_statusLow_once",)),
    Difference("One Host", ("client", "upstream", "log"), ("hostEmpty", "hostTwice", "hostTwiceSame")),
    Difference("Connection does not name Host", ("client", "log"), ("nominatedHostField",)),
    Difference(
        "Strict heads and chunks",
        ("client", "upstream", "log"),
        (
            "blankAtEnd",
            "chunkSpace",
            "folded",
            "lineFeedOne",
            "lineFeeds",
            "lineFeedsBefore",
            "oldPostChunked",
            "tabInLine",
            "twoBlanks",
            "valueCR",
        ),
    ),
    Difference(
        "The PROXY protocol to the letter",
        ("client", "log"),
        ("line_blankBehind", "line_portLeadingZero", "line_portSigned"),
    ),
    Difference("The PROXY protocol to the letter", ("log",), ("line_scope",)),
    Difference("No wait for what cannot become TLS", ("client", "log"), ("threeBytes",)),
    Difference("A direct response is not overtaken", ("log",), ("directData",)),
    Difference("A mapped address is the address", ("client", "log"), ("line_mapped",)),
    Difference(
        "Strict responses",
        ("client", "upstream", "log"),
        ("get_bareLF", "get_foldedLine", "get_status099", "get_status20", "get_status2000", "get_switched"),
    ),
    Difference("Strict responses", ("client", "log"), ("get_version12", "get_version2")),
    Difference(
        "Interim responses pass",
        ("client",),
        ("get_early", "get_early2", "get_early1xx", "get_processing", "earlyForwarded"),
    ),
    Difference("Interim responses pass", ("client", "log"), ("get_cutEarly",)),
    Difference("Interim responses pass", ("log",), ("interim_closed_once",)),
    Difference("Interim responses pass", ("client", "upstream", "log"), ("interim_closed_tries",)),
    Difference("An upgrade has no body", ("client", "upstream", "log"), ("withBody",)),
    Difference("An upgrade has no body", ("upstream",), ("withLengthZero",)),
    Difference("Replies without a body have none", ("client",), ("direct204body", "direct304")),
    Difference("Pipelined local replies", ("client", "log"), ("directPipelined",)),
    Difference("The last response ends its connection", ("client",), ("connectionDuration",)),
    Difference("Bytes before a fault are counted", ("log",), ("chunkNoEnd",)),
    Difference("Bytes before a fault are counted", ("log",), ("http2_malformed", "onward_malformed")),
    Difference("A request without a route has no route's fields", ("log",), ("counts_refused",)),
    Difference("Broken compression ends the stream", ("client", "upstream", "log"), ("decompress_brokenRequest",)),
    Difference("Broken compression ends the stream", ("client", "log"), ("decompress_brokenResponse",)),
    Difference("Fetched answers are framed by their status", ("client",), ("fetched_304",)),
    Difference("Fetched answers are framed by their status", ("client", "upstream", "log"), ("fetch_head",)),
    Difference(
        "Fetched answers are framed by their status",
        ("client",),
        tuple(f"fetch_{status}{query}" for status in (412, 413) for query in ("", "_query")),
    ),
    Difference("Tokens are judged together", ("client", "upstream", "log"), ("missing_otherBad",)),
    Difference("Tokens are judged together", ("log",), ("one_bothOtherBad",)),
    Difference("Trailers cannot frame", ("upstream",), ("chunkedTrailersLength",)),
    Difference("Internal redirects", ("upstream",), ("credentials", "proxyCredentials")),
    Difference("Internal redirects", ("client", "upstream", "log"), ("location16",)),
    Difference(
        "Internal redirects",
        ("log",),
        (
            *("redirectedDots", "redirectedExternal", "listedOut", "loopPrevious", "schemeSafe"),
            *(f"location{number}" for number in (6, 7, 8, 19, 21, 24, 25, 26, 28)),
            *("redirectedPost", "redirectedPostChunked", "post303", "put303"),
            *(f"fetch_{status}{query}" for status in (403, 406, 408, 409) for query in ("", "_query")),
            *("fetch_chunked", "fetch_early", "fetch_none", "fetch_post"),
            *("guarded_0_403", "guards_0_403", "guards_1_403", "guards_1_503"),
        ),
    ),
    Difference(
        "The log tells what was read",
        ("log",),
        (
            "nominatedAuthority",
            "nominatedHost",
            "nominatedMany",
            "nominatedPath",
            "nominatedProto",
            "nominatedTen",
            "nominatedXFF",
            "teLong",
            "codingChunkedTwice",
            "codingEmpty",
            "codingGzip",
            "codingGzipChunked",
            "codingIdentity",
            "lengthAndChunked",
            "lengthDiffers",
            "lengthEmpty",
            "lengthHex",
            "lengthHuge",
            "lengthList",
            "lengthMinus",
            "lengthPlus",
            "lengthTwice",
            "lengthUnderscore",
            "tolerantCoding",
            "normal_reject_7",
            "normal_reject_8",
            "normal_reject_9",
            "normal_reject_20",
            "normal_reject_22",
            "invalid_slash_streamError",
        ),
    ),
)


def meantParts(case: str) -> frozenset[str]:
    """
    What of a case is to differ.
    """
    return frozenset(part for each in DIFFERENCES if case in each.cases for part in each.parts)
