"""
The filters compressor and decompressor.
"""

from __future__ import annotations

import re
import zlib

import brotli
import zstandard
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, get, ok, request
from tests.conformance.comparison import Comparison, compared

_TYPE = "'@type': type.googleapis.com/envoy.extensions"
_NAME = "envoy.filters.http"
_KINDS = {"gzip": "Gzip", "brotli": "Brotli", "zstd": "Zstd"}
_TRAILERS = "{http_protocol_options: {enable_trailers: true}}"


def _library(direction: str, kind: str, fields: str = "") -> str:
    message = f"{_TYPE}.compression.{kind}.{direction}.v3.{_KINDS[kind]}"
    return f"{direction}_library: {{name: mine, typed_config: {{{message}{', ' if fields else ''}{fields}}}}}"


def _compressor(kind: str, fields: str = "", name: str = f"{_NAME}.compressor") -> str:
    fields = f"{_library('compressor', kind)}{', ' if fields else ''}{fields}"
    return f"{{name: {name}, typed_config: {{{_TYPE}.filters.http.compressor.v3.Compressor, {fields}}}}}"


def _decompressor(kind: str, fields: str = "") -> str:
    fields = f"{_library('decompressor', kind)}{', ' if fields else ''}{fields}"
    return (
        f"{{name: {_NAME}.decompressor, typed_config: {{{_TYPE}.filters.http.decompressor.v3.Decompressor, {fields}}}}}"
    )


def _said(fields: str) -> str:
    return (
        "typed_per_filter_config:"
        f" {{{_NAME}.compressor: {{{_TYPE}.filters.http.compressor.v3.CompressorPerRoute, {fields}}}}}"
    )


LISTENERS = {
    "gzip": Manager(_TRAILERS, filters=f"[{_compressor('gzip')}]"),
    "brotli": Manager(filters=f"[{_compressor('brotli')}]"),
    "zstd": Manager(filters=f"[{_compressor('zstd')}]"),
    "strict": Manager(
        filters="["
        + _compressor(
            "gzip",
            "response_direction_config: {common_config: {min_content_length: 100, content_type: [text/html, Text/X]},"
            " disable_on_etag_header: true, remove_accept_encoding_header: true, uncompressible_response_codes: [206],"
            " status_header_enabled: true}",
        )
        + "]"
    ),
    "off": Manager(
        filters="["
        + _compressor("gzip", "response_direction_config: {common_config: {enabled: {default_value: false}}}")
        + "]",
        routes="[{match: {prefix: /on}, route: {cluster: backend},"
        f" {_said('overrides: {response_direction_config: {}}')}}},"
        " {match: {prefix: /}, route: {cluster: backend}}]",
    ),
    "requests": Manager(
        _TRAILERS,
        filters=f"[{_compressor('gzip', 'request_direction_config: {common_config: {min_content_length: 40}}')}]",
    ),
    "two": Manager(filters=f"[{_compressor('gzip', name='a')}, {_compressor('brotli', name='b')}]"),
    "twoFirst": Manager(
        filters=f"[{_compressor('gzip', name='a')}, {_compressor('brotli', 'choose_first: true', 'b')}]"
    ),
    "routes": Manager(
        "",
        f"[{{match: {{prefix: /off}}, route: {{cluster: backend}}, {_said('disabled: true')}}},"
        f" {{match: {{prefix: /remove}}, route: {{cluster: backend}},"
        f" {_said('overrides: {response_direction_config: {remove_accept_encoding_header: true}}')}}},"
        f" {{match: {{prefix: /brotli}}, route: {{cluster: backend}},"
        f" {_said('overrides: {' + _library('compressor', 'brotli') + '}')}}},"
        " {match: {prefix: /direct}, direct_response: {status: 200, body: {inline_string:"
        " 0123456789012345678901234567890123456789}}},"
        " {match: {prefix: /bare}, direct_response: {status: 200}},"
        " {match: {prefix: /}, route: {cluster: backend}}]",
        filters=f"[{_compressor('gzip')}]",
    ),
    "decompress": Manager(filters=f"[{_decompressor('gzip')}]"),
    "decompressBrotli": Manager(filters=f"[{_decompressor('brotli')}]"),
    "decompressZstd": Manager(filters=f"[{_decompressor('zstd')}]"),
    "decompressQuiet": Manager(
        filters="["
        + _decompressor(
            "gzip",
            "request_direction_config: {advertise_accept_encoding: false, common_config:"
            " {ignore_no_transform_header: true}}, response_direction_config: {common_config: {enabled:"
            " {default_value: false}}}",
        )
        + "]"
    ),
}

_LONG = "0123456789" * 20
_HTML = "content-type: text/html; charset=utf-8"

_ACCEPTED = {
    "none": (),
    "gzip": ("accept-encoding: gzip",),
    "GZIP": ("accept-encoding: GZIP",),
    "many": ("accept-encoding: deflate, gzip;q=0.5, br;q=0.4",),
    "zero": ("accept-encoding: gzip;q=0",),
    "zeroStar": ("accept-encoding: gzip;q=0, *",),
    "star": ("accept-encoding: *",),
    "starZero": ("accept-encoding: *;q=0, gzip;q=1",),
    "identity": ("accept-encoding: identity, gzip;q=0.5",),
    "identityLess": ("accept-encoding: identity;q=0.5, gzip;q=0.7",),
    "equal": ("accept-encoding: br, gzip, zstd",),
    "equalStar": ("accept-encoding: *, br",),
    "badWeight": ("accept-encoding: gzip;q=x",),
    "otherParameter": ("accept-encoding: gzip;a=0.1",),
    "spaces": ("accept-encoding:  gzip ; q = 0.9 , br;q=0.8",),
    "empty": ("accept-encoding: ",),
    "twice": ("accept-encoding: br;q=0.1", "accept-encoding: gzip"),
    "unknown": ("accept-encoding: deflate",),
    "big": ("accept-encoding: gzip;q=5, br;q=1",),
}

_ANSWERS = {
    "html": ok(_HTML, body=_LONG),
    "noType": ok(body=_LONG),
    "image": ok("content-type: image/png", body=_LONG),
    "upperType": ok("content-type: TEXT/HTML", body=_LONG),
    "grpcWeb": ok("content-type: application/grpc-web", body=_LONG),
    "xjs": ok("content-type: text/x-js", body=_LONG),
    "ecma": ok("content-type: text/ecmascript", body=_LONG),
    "short": ok(_HTML, body="0123456789"),
    "atLimit": ok(_HTML, body="0" * 30),
    "encoded": ok(_HTML, "content-encoding: x", body=_LONG),
    "noTransform": ok(_HTML, "cache-control: public, No-Transform", body=_LONG),
    "etagStrong": ok(_HTML, 'etag: "abc"', body=_LONG),
    "etagWeak": ok(_HTML, 'etag: W/"abc"', body=_LONG),
    "etagTwo": ok(_HTML, "etag: ab", body=_LONG),
    "vary": ok(_HTML, "vary: cookie", body=_LONG),
    "varyThere": ok(_HTML, "vary: cookie, Accept-Encoding", body=_LONG),
    "varyLower": ok(_HTML, "vary: accept-encoding", body=_LONG),
    "chunked": b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\nabcde\r\n0\r\n\r\n",
    "trailers": b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\nabcde\r\n0\r\nx-t: 1\r\n\r\n",
    "empty": ok(_HTML, body=""),
    "partial": ok(_HTML, body=_LONG).replace(b"200 OK", b"206 Partial Content"),
    "error": ok(_HTML, body=_LONG).replace(b"200 OK", b"503 Service Unavailable"),
    "noContent": b"HTTP/1.1 204 No Content\r\ncontent-type: text/html\r\n\r\n",
}

_TEXT = _LONG.encode()


def _gzipped(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=31)
    return made.compress(data) + made.flush()


_PACKED = {"gzip": _gzipped(_TEXT), "br": brotli.compress(_TEXT), "zstd": zstandard.compress(_TEXT)}


def _packed(coding: str, *fields: str, body: bytes | None = None) -> bytes:
    body = _PACKED[coding] if body is None else body
    return ok(f"content-encoding: {coding}", *fields, body=body.decode("latin-1"))


def _upload(coding: str, *fields: str) -> bytes:
    body = _PACKED[coding].decode("latin-1")
    return request("POST /x", f"content-encoding: {coding}", f"content-length: {len(body)}", *fields, body=body)


CASES = [
    *[
        Case(
            f"{listener}_accepts_{name}", f"accept-encoding {name}.", get("/x", *fields), (_ANSWERS["html"],), listener
        )
        for listener in ("gzip", "two", "twoFirst")
        for name, fields in _ACCEPTED.items()
    ],
    *[
        Case(f"{kind}_accepts_all", "All codings.", get("/x", "accept-encoding: zstd, br"), (_ANSWERS["html"],), kind)
        for kind in ("brotli", "zstd")
    ],
    *[
        Case(f"{listener}_{name}", f"A response: {name}.", get("/x", "accept-encoding: gzip"), (answer,), listener)
        for listener in ("gzip", "strict")
        for name, answer in _ANSWERS.items()
    ],
    Case("gzip_head", "HEAD.", request("HEAD /x", "accept-encoding: gzip"), (_ANSWERS["html"],), "gzip"),
    Case("gzip_old", "HTTP/1.0.", request("GET /x HTTP/1.0", "accept-encoding: gzip"), (_ANSWERS["html"],), "gzip"),
    *[
        Case(f"off_{path[1:]}", "Off, but for a route.", get(path, "accept-encoding: gzip"), (_ANSWERS["html"],), "off")
        for path in ("/on", "/other")
    ],
    *[
        Case(
            f"routes_{path[1:]}", "A route says.", get(path, "accept-encoding: gzip, br"), (_ANSWERS["html"],), "routes"
        )
        for path in ("/off", "/remove", "/brotli", "/direct", "/bare", "/other")
    ],
    *[
        Case(f"requests_{name}", f"A request: {name}.", data, listener="requests")
        for name, data in {
            "long": request("POST /x", "content-type: application/json", "content-length: 200", body=_LONG),
            "noType": request("POST /x", "content-length: 200", body=_LONG),
            "image": request("POST /x", "content-type: image/png", "content-length: 200", body=_LONG),
            "short": request("POST /x", "content-length: 39", body="0" * 39),
            "encoded": request("POST /x", "content-encoding: gzip", "content-length: 200", body=_LONG),
            "chunked": request("POST /x", "transfer-encoding: chunked", body="3\r\nabc\r\n0\r\n\r\n"),
            "trailers": request("POST /x", "transfer-encoding: chunked", body="3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"),
            "none": get("/x"),
        }.items()
    ],
    *[
        Case(
            f"{listener}_{coding}_response",
            f"A response in {coding}.",
            get("/x", *fields),
            (_packed(coding),),
            listener,
        )
        for listener in ("decompress", "decompressBrotli", "decompressZstd", "decompressQuiet")
        for coding in _PACKED
        for fields in ((),)
    ],
    *[
        Case(f"{listener}_{coding}_request", f"A request in {coding}.", _upload(coding), listener=listener)
        for listener in ("decompress", "decompressBrotli", "decompressZstd", "decompressQuiet")
        for coding in _PACKED
    ],
    Case(
        "decompress_brokenRequest",
        "A request that is no gzip.",
        request("POST /x", "content-encoding: gzip", "content-length: 7", body="garbage"),
        listener="decompress",
    ),
    Case("decompress_brokenResponse", "Such a response.", get("/x"), (_packed("gzip", body=b"garbage"),), "decompress"),
    Case("decompress_plain", "Nothing to do.", get("/x"), (ok(body=_LONG),), "decompress"),
    Case("decompress_upper", "GZIP.", get("/x"), (_packed("gzip").replace(b": gzip", b": GZIP"),), "decompress"),
    Case(
        "decompress_noTransform", "no-transform.", _upload("gzip", "cache-control: no-transform"), listener="decompress"
    ),
    Case(
        "decompress_noTransformQuiet",
        "Ignored.",
        _upload("gzip", "cache-control: no-transform"),
        listener="decompressQuiet",
    ),
    *[
        Case(
            f"decompress_accepts_{name}",
            f"accept-encoding {name}.",
            get("/x", *fields),
            (_packed("gzip"),),
            "decompress",
        )
        for name, fields in _ACCEPTED.items()
        if name in ("gzip", "many", "star", "empty", "twice", "spaces")
    ],
]


# How long a compressed body is depends on the pieces in which it came.
_SIZES = [(re.compile(r"(?<=\bsent=)[1-9][0-9]*"), "(a size)")]


@compared(Comparison(LISTENERS, CASES, variable=_SIZES))
class CompressionTests(SynchronousTestCase):
    """
    Bodies in codings.
    """
