# -*- test-case-name: tests.http.test_compression -*-
"""
Content codings (RFC 9110, 8.4.1): the libraries that C{compressor_library} and C{decompressor_library} name.

gzip comes with Python; brotli and zstd are refused where their libraries are not installed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from meshproxy.config.section import Section
from meshproxy.config.supported import accept, declare
from meshproxy.errors import MeshProxyError
from meshproxy.routing.redirects import readDataSource

__all__ = [
    "Coding",
    "CompressionError",
    "ICompressor",
    "IDecompressor",
    "compileCompressor",
    "compileDecompressor",
]

_LIBRARIES = "envoy.extensions.compression."
_GZIP, _BROTLI, _ZSTD = (_LIBRARIES + name for name in ("gzip.", "brotli.", "zstd."))

declare(_GZIP + "compressor.v3.Gzip", "memory_level", "compression_level", "compression_strategy", "window_bits")
declare(_GZIP + "decompressor.v3.Gzip", "window_bits", "max_inflate_ratio")
declare(_BROTLI + "compressor.v3.Brotli", "quality", "encoder_mode", "window_bits", "input_block_bits")
declare(_BROTLI + "decompressor.v3.Brotli")
declare(_ZSTD + "compressor.v3.Zstd", "compression_level", "enable_checksum", "strategy", "dictionary")
declare(_ZSTD + "decompressor.v3.Zstd", "dictionaries")
for _message in ("gzip.compressor.v3.Gzip", "gzip.decompressor.v3.Gzip", "brotli.compressor.v3.Brotli"):
    accept(_LIBRARIES + _message, "chunk_size", "buffers are as large as what comes out")
for _message in ("brotli.decompressor.v3.Brotli", "zstd.compressor.v3.Zstd", "zstd.decompressor.v3.Zstd"):
    accept(_LIBRARIES + _message, "chunk_size", "buffers are as large as what comes out")
accept(_BROTLI + "decompressor.v3.Brotli", "disable_ring_buffer_reallocation", "the library decides")

# CVE-2022-29225 and CVE-2026-48044: a few bytes may stand for gigabytes. Envoy's limit, where there is none
# configured.
_MOST_RATIO = 100
# So much may come out whatever the ratio is: short texts that repeat themselves are no attack.
_HARMLESS = 64 * 1024
# So much of one piece at most, whatever the ratio: it stands in memory as a whole.
_MOST_AT_ONCE = 16 * 1024 * 1024
# Members of gzip and frames of zstd in one body: each costs memory of its own, however short it is.
_MOST_PARTS = 100
# RFC 9659: no window of more than 8 MB for zstd on the web.
_ZSTD_WINDOW = 8 * 1024 * 1024
# Four bytes of zstd may stand for 128 KiB, and its library has no limit of its own: it gets little at a time.
_ZSTD_SLICE = 256


class CompressionError(MeshProxyError):
    """
    What came is not in its coding, or stands for too much.

    @ivar isBomb: Whether it is the latter.
    """

    def __init__(self, why: str, isBomb: bool = False) -> None:
        super().__init__(why)
        self.isBomb = isBomb


class ICompressor(Protocol):
    """
    Compresses one body.
    """

    def compress(self, data: bytes) -> bytes:
        """
        All that stands for a piece: whoever reads it can read the whole piece.
        """

    def finish(self, data: bytes) -> bytes:
        """
        All that stands for the last piece, which may be empty, and what ends the body.
        """


class IDecompressor(Protocol):
    """
    Decompresses one body.
    """

    def decompress(self, data: bytes) -> bytes:
        """
        What a piece stands for.

        @raise CompressionError: If it is broken, or a bomb. Nothing more may be given to it then.
        """

    def finish(self) -> None:
        """
        The body is over.

        @raise CompressionError: If it should go on.
        """


class Coding(NamedTuple):
    """
    A library as configured.

    @ivar name: The content coding: C{b"gzip"}, C{b"br"}, C{b"zstd"}.
    @ivar statName: How statistics call it.
    @ivar libraryName: Its name in the configuration.
    @ivar make: Makes an L{ICompressor} or L{IDecompressor} for one body.
    """

    name: bytes
    statName: str
    libraryName: str
    make: Callable[[], Any]


# Gzip


class _GzipCompressor:
    __slots__ = ("_object",)

    def __init__(self, level: int, windowBits: int, memoryLevel: int, strategy: int) -> None:
        self._object = zlib.compressobj(level, zlib.DEFLATED, 16 + windowBits, memoryLevel, strategy)

    def compress(self, data: bytes) -> bytes:
        return self._object.compress(data) + self._object.flush(zlib.Z_SYNC_FLUSH)

    def finish(self, data: bytes) -> bytes:
        return self._object.compress(data) + self._object.flush()


class _Limit:
    """
    Counts what goes in and comes out.
    """

    __slots__ = ("_in", "_out", "_parts", "_ratio")

    def __init__(self, ratio: int) -> None:
        self._ratio = ratio
        self._in = self._out = self._parts = 0

    def nextPart(self) -> None:
        """
        Count a member or frame that follows another one.

        @raise CompressionError: If there are too many.
        """
        self._parts += 1
        if self._parts >= _MOST_PARTS:
            raise CompressionError(f"more than {_MOST_PARTS} parts", isBomb=True)

    def allow(self, size: int) -> int:
        """
        Take the size of a piece.

        @return: The most that may come out of it.
        """
        self._in += size
        return max(min(max(self._in * self._ratio, _HARMLESS) - self._out, _MOST_AT_ONCE), 0)

    def count(self, size: int, allowed: int) -> None:
        """
        Count what came out.

        @raise CompressionError: If it is too much.
        """
        self._out += size
        if size > allowed:
            raise CompressionError(f"{self._in} bytes stand for more than {self._out}", isBomb=True)


class _GzipDecompressor:
    __slots__ = ("_limit", "_object", "_windowBits")

    def __init__(self, windowBits: int, ratio: int) -> None:
        self._windowBits = 16 + windowBits
        self._object = zlib.decompressobj(self._windowBits)
        self._limit = _Limit(ratio)

    def decompress(self, data: bytes) -> bytes:
        allowed = self._limit.allow(len(data))
        made = b""
        while data:
            if self._object.eof:
                # RFC 1952, 2.2: members follow each other.
                self._limit.nextPart()
                self._object = zlib.decompressobj(self._windowBits)
            try:
                made += self._object.decompress(data, max(allowed - len(made), 0) + 1)
            except zlib.error as error:
                raise CompressionError(f"broken gzip: {error}") from error
            if len(made) > allowed:
                break
            data = self._object.unused_data
        self._limit.count(len(made), allowed)
        return made

    def finish(self) -> None:
        if not self._object.eof:
            raise CompressionError("gzip that ends too early")


# Brotli


class _BrotliCompressor:
    __slots__ = ("_object",)

    def __init__(self, library: ModuleType, options: Mapping[str, int]) -> None:
        self._object = library.Compressor(**options)

    def compress(self, data: bytes) -> bytes:
        made: bytes = self._object.process(data) + self._object.flush()
        return made

    def finish(self, data: bytes) -> bytes:
        made: bytes = self._object.process(data) + self._object.finish()
        return made


class _BrotliDecompressor:
    __slots__ = ("_error", "_limit", "_object")

    def __init__(self, library: ModuleType) -> None:
        self._object = library.Decompressor()
        self._error: type[Exception] = library.error
        self._limit = _Limit(_MOST_RATIO)

    def decompress(self, data: bytes) -> bytes:
        allowed = self._limit.allow(len(data))
        made = b""
        try:
            while True:
                more: bytes = self._object.process(data, output_buffer_limit=allowed - len(made) + 1)
                made += more
                data = b""
                if len(made) > allowed or self._object.can_accept_more_data():
                    break
        except self._error as error:
            raise CompressionError(f"broken brotli: {error}") from error
        self._limit.count(len(made), allowed)
        return made

    def finish(self) -> None:
        if not self._object.is_finished():
            raise CompressionError("brotli that ends too early")


# Zstandard


class _ZstdCompressor:
    __slots__ = ("_flush", "_object")

    def __init__(self, library: ModuleType, make: Callable[[], Any]) -> None:
        self._object = make().compressobj()
        self._flush = library.COMPRESSOBJ_FLUSH_BLOCK

    def compress(self, data: bytes) -> bytes:
        made: bytes = self._object.compress(data) + self._object.flush(self._flush)
        return made

    def finish(self, data: bytes) -> bytes:
        made: bytes = self._object.compress(data) + self._object.flush()
        return made


class _ZstdDecompressor:
    __slots__ = ("_error", "_limit", "_make", "_object")

    def __init__(self, library: ModuleType, make: Callable[[], Any]) -> None:
        self._make = make
        self._object = make().decompressobj()
        self._error: type[Exception] = library.ZstdError
        self._limit = _Limit(_MOST_RATIO)

    def decompress(self, data: bytes) -> bytes:
        allowed = self._limit.allow(len(data))
        made: list[bytes] = []
        size = 0
        for start in range(0, len(data), _ZSTD_SLICE):
            piece = self._slice(data[start : start + _ZSTD_SLICE])
            made.append(piece)
            size += len(piece)
            if size > allowed:
                break
        self._limit.count(size, allowed)
        return b"".join(made)

    def _slice(self, data: bytes) -> bytes:
        made = b""
        try:
            while data:
                if self._object.eof:
                    # RFC 8878, 3.1: frames follow each other.
                    self._limit.nextPart()
                    self._object = self._make().decompressobj()
                more: bytes = self._object.decompress(data)
                made += more
                data = self._object.unused_data if self._object.eof else b""
        except self._error as error:
            raise CompressionError(f"broken zstd: {error}") from error
        return made

    def finish(self) -> None:
        if not self._object.eof:
            raise CompressionError("zstd that ends too early")


# Compiling


def _library(section: Section, name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        section.refuse(
            f"this needs the library {name}, which is not installed: pip install 'meshproxy[compression]'",
            "typed_config",
        )
        return None


_LEVELS = {"DEFAULT_COMPRESSION": -1, "BEST_SPEED": 1, "BEST_COMPRESSION": 9}
_GZIP_STRATEGIES = ("DEFAULT_STRATEGY", "FILTERED", "HUFFMAN_ONLY", "RLE", "FIXED")


def _gzipCompressor(section: Section, held: Section) -> Callable[[], Any]:
    level: str = held.get("compression_level")
    number = _LEVELS[level] if level in _LEVELS else int(level.rpartition("_")[2])
    windowBits = held.wrapped("window_bits", 12)
    memoryLevel = held.wrapped("memory_level", 5)
    # They have zlib's numbers.
    strategy = _GZIP_STRATEGIES.index(held.get("compression_strategy"))
    return lambda: _GzipCompressor(number, windowBits, memoryLevel, strategy)


def _gzipDecompressor(section: Section, held: Section) -> Callable[[], Any]:
    windowBits = held.wrapped("window_bits", 15)
    ratio = held.wrapped("max_inflate_ratio", _MOST_RATIO)
    return lambda: _GzipDecompressor(windowBits, ratio)


def _brotliCompressor(section: Section, held: Section) -> Callable[[], Any] | None:
    library = _library(section, "brotli")
    if library is None:
        return None
    kind: str = held.get("encoder_mode")
    options = {
        "mode": getattr(library, "MODE_GENERIC" if kind == "DEFAULT" else f"MODE_{kind}"),
        "quality": held.wrapped("quality", 3),
        "lgwin": held.wrapped("window_bits", 18),
        "lgblock": held.wrapped("input_block_bits", 24),
    }
    return lambda: _BrotliCompressor(library, options)


def _brotliDecompressor(section: Section, held: Section) -> Callable[[], Any] | None:
    library = _library(section, "brotli")
    return None if library is None else lambda: _BrotliDecompressor(library)


def _zstdCompressor(section: Section, held: Section) -> Callable[[], Any] | None:
    library = _library(section, "zstandard")
    if library is None:
        return None
    level = held.wrapped("compression_level", 3)
    options: dict[str, Any] = {"write_checksum": held.get("enable_checksum")}
    strategy: str = held.get("strategy")
    if strategy != "DEFAULT":
        options["strategy"] = getattr(library, f"STRATEGY_{strategy}")
    parameters = library.ZstdCompressionParameters.from_level(level, **options)
    source = held.child("dictionary")
    dictionary = None if source is None else library.ZstdCompressionDict(readDataSource(source))

    def make() -> Any:
        return library.ZstdCompressor(compression_params=parameters, dict_data=dictionary)

    return lambda: _ZstdCompressor(library, make)


def _zstdDecompressor(section: Section, held: Section) -> Callable[[], Any] | None:
    library = _library(section, "zstandard")
    if library is None:
        return None
    sources = held.children("dictionaries")
    if len(sources) > 1:
        held.refuse("more than one dictionary is not implemented by meshproxy", "dictionaries")
    dictionary = library.ZstdCompressionDict(readDataSource(sources[0])) if sources else None

    def make() -> Any:
        return library.ZstdDecompressor(dict_data=dictionary, max_window_size=_ZSTD_WINDOW)

    return lambda: _ZstdDecompressor(library, make)


Compile = Callable[[Section, Section], Callable[[], Any] | None]

_COMPRESSORS: Mapping[str, tuple[bytes, str, Compile]] = {
    _GZIP + "compressor.v3.Gzip": (b"gzip", "gzip", _gzipCompressor),
    _BROTLI + "compressor.v3.Brotli": (b"br", "brotli", _brotliCompressor),
    _ZSTD + "compressor.v3.Zstd": (b"zstd", "zstd", _zstdCompressor),
}

_DECOMPRESSORS: Mapping[str, tuple[bytes, str, Compile]] = {
    _GZIP + "decompressor.v3.Gzip": (b"gzip", "gzip", _gzipDecompressor),
    _BROTLI + "decompressor.v3.Brotli": (b"br", "brotli", _brotliDecompressor),
    _ZSTD + "decompressor.v3.Zstd": (b"zstd", "zstd", _zstdDecompressor),
}


def _refused() -> Any:
    raise AssertionError("what was refused is not used")  # pragma: no cover


def _compile(section: Section, known: Mapping[str, tuple[bytes, str, Compile]]) -> Coding:
    held = section.any("typed_config")
    name: str = section.get("name")
    kind = None if held is None else known.get(held.typeName)
    if held is None or kind is None:
        section.refuse(f"one of {', '.join(known)} is needed", "typed_config")
        return Coding(b"identity", "none", name, _refused)
    coding, statName, compile = kind
    return Coding(coding, statName, name, compile(section, held) or _refused)


def compileCompressor(section: Section) -> Coding:
    """
    Compile the C{TypedExtensionConfig} of a compressor library.
    """
    return _compile(section, _COMPRESSORS)


def compileDecompressor(section: Section) -> Coding:
    """
    Compile the C{TypedExtensionConfig} of a decompressor library.
    """
    return _compile(section, _DECOMPRESSORS)
