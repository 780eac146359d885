"""
L{meshproxy.http.compression}.
"""

from __future__ import annotations

import gzip
import zlib
from random import Random
from typing import Any
from unittest.mock import patch

import brotli
import zstandard
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import sectionFromYAML
from meshproxy.errors import ConfigErrors
from meshproxy.http import compression
from meshproxy.http.compression import Coding, CompressionError, IDecompressor, compileCompressor, compileDecompressor

TEXT = b"".join(b"line %d of a text that repeats itself\n" % number for number in range(200))
KINDS = ("gzip", "brotli", "zstd")


def coding(direction: str, kind: str, fields: str = "") -> Coding:
    """
    A library as configured.
    """
    message = f"type.googleapis.com/envoy.extensions.compression.{kind}.{direction}.v3.{kind.title()}"
    text = f"{{name: mine, typed_config: {{'@type': {message}{', ' if fields else ''}{fields}}}}}"
    section = sectionFromYAML("envoy.config.core.v3.TypedExtensionConfig", text)
    made = (compileCompressor if direction == "compressor" else compileDecompressor)(section)
    section.report.raiseIfAny()
    return made


def unpacked(kind: str, data: bytes) -> bytes:
    """
    What the library itself makes of a whole body.
    """
    if kind == "gzip":
        return gzip.decompress(data)
    if kind == "brotli":
        return bytes(brotli.decompress(data))
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def packed(kind: str, data: bytes) -> bytes:
    """
    A whole body as the library itself makes it.
    """
    if kind == "gzip":
        return gzip.compress(data)
    return bytes(brotli.compress(data)) if kind == "brotli" else zstandard.compress(data)


def fed(decompressor: IDecompressor, data: bytes, size: int) -> bytes:
    """
    A body that comes in pieces of a size.
    """
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    made = b"".join(map(decompressor.decompress, pieces))
    decompressor.finish()
    return made


class CompressorTests(SynchronousTestCase):
    """
    What is compressed is the same when it is decompressed.
    """

    def test_pieces(self) -> None:
        """
        Each piece can be read as soon as it is there, and all of them together are one body.
        """
        for kind in KINDS:
            compressor = coding("compressor", kind).make()
            decompressor = coding("decompressor", kind).make()
            made = b""
            for start in range(0, len(TEXT), 1000):
                piece = compressor.compress(TEXT[start : start + 1000])
                self.assertEqual(decompressor.decompress(piece), TEXT[start : start + 1000], kind)
                made += piece
            made += compressor.finish(b"the end")
            self.assertEqual(unpacked(kind, made), TEXT + b"the end", kind)
            self.assertLess(len(made), len(TEXT) / 2, kind)

    def test_options(self) -> None:
        """
        Every option makes a body that can be read.
        """
        options = {
            "gzip": [
                "compression_level: BEST_SPEED",
                "compression_level: COMPRESSION_LEVEL_4",
                "compression_level: BEST_COMPRESSION, compression_strategy: HUFFMAN_ONLY",
                "window_bits: 9, memory_level: 1, compression_strategy: RLE",
            ],
            "brotli": ["quality: 11", "encoder_mode: TEXT, window_bits: 10, input_block_bits: 16", "quality: 0"],
            "zstd": ["compression_level: 19", "enable_checksum: true, strategy: BTULTRA2", "strategy: FAST"],
        }
        for kind, texts in options.items():
            for text in texts:
                made = coding("compressor", kind, text).make().finish(TEXT)
                self.assertEqual(fed(coding("decompressor", kind).make(), made, 100), TEXT, text)

    def test_levels(self) -> None:
        """
        A level does what it says.
        """
        sizes = [
            len(coding("compressor", "gzip", f"compression_level: {level}").make().finish(TEXT))
            for level in ("BEST_SPEED", "BEST_COMPRESSION")
        ]
        self.assertGreater(sizes[0], sizes[1])

    def test_dictionary(self) -> None:
        """
        A dictionary of zstd is needed on both sides.
        """
        samples: list[Any] = [
            b"{'user': %d, 'name': 'name %d', 'kind': 'customer'}" % (each, each) for each in range(2000)
        ]
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(zstandard.train_dictionary(2000, samples).as_bytes())
        made = coding("compressor", "zstd", f"dictionary: {{filename: {path}}}").make().finish(samples[7])
        plain = coding("compressor", "zstd").make().finish(samples[7])
        self.assertLess(len(made), len(plain))
        decompressor = coding("decompressor", "zstd", f"dictionaries: [{{filename: {path}}}]").make()
        self.assertEqual(fed(decompressor, made, 10), samples[7])
        self.assertRaises(CompressionError, fed, coding("decompressor", "zstd").make(), made, 10)


class DecompressorTests(SynchronousTestCase):
    """
    What others compressed.
    """

    def test_everyCut(self) -> None:
        """
        How a body is cut does not matter.
        """
        for kind in KINDS:
            body = packed(kind, TEXT[:500])
            for size in (1, 2, 3, 7, len(body)):
                self.assertEqual(fed(coding("decompressor", kind).make(), body, size), TEXT[:500], kind)

    def test_parts(self) -> None:
        """
        Members of gzip and frames of zstd may follow each other, but not without end.
        """
        for kind in ("gzip", "zstd"):
            body = packed(kind, b"one") + packed(kind, b"two")
            for size in (1, 5, len(body)):
                self.assertEqual(fed(coding("decompressor", kind).make(), body, size), b"onetwo", kind)
            with self.assertRaises(CompressionError) as caught:
                coding("decompressor", kind).make().decompress(packed(kind, b"") * 101)
            self.assertTrue(caught.exception.isBomb)

    def test_short(self) -> None:
        """
        A body that ends too early is broken.
        """
        for kind in KINDS:
            decompressor = coding("decompressor", kind).make()
            decompressor.decompress(packed(kind, TEXT)[:-1])
            with self.assertRaises(CompressionError) as caught:
                decompressor.finish()
            self.assertFalse(caught.exception.isBomb)

    def test_bombs(self) -> None:
        """
        A few bytes that stand for many are no body, in one piece or in many; what comes out before that is noticed is
        little.
        """
        for kind in KINDS:
            body = packed(kind, bytes(64 * 1024 * 1024))
            for size in (100, len(body)):
                made = 0
                decompressor = coding("decompressor", kind).make()
                with self.assertRaises(CompressionError) as caught:
                    for start in range(0, len(body), size):
                        made += len(decompressor.decompress(body[start : start + size]))
                self.assertTrue(caught.exception.isBomb, kind)
                self.assertLessEqual(made, max(64 * 1024, 100 * len(body)), kind)

    def test_harmless(self) -> None:
        """
        A short text may repeat itself as often as it likes.
        """
        for kind in KINDS:
            self.assertEqual(len(fed(coding("decompressor", kind).make(), packed(kind, bytes(60000)), 10)), 60000)

    def test_ratio(self) -> None:
        """
        The ratio of gzip can be configured.
        """
        body = packed("gzip", bytes(80000))
        self.assertRaises(CompressionError, fed, coding("decompressor", "gzip").make(), body, 10)
        decompressor = coding("decompressor", "gzip", "max_inflate_ratio: 1032").make()
        self.assertEqual(len(fed(decompressor, body, 100)), 80000)

    def test_largeWindow(self) -> None:
        """
        A frame of zstd that wants a large window is refused before it gets it (RFC 9659).
        """
        parameters = zstandard.ZstdCompressionParameters(window_log=27)
        compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        body = compressor.compress(TEXT) + compressor.flush()
        self.assertRaises(CompressionError, coding("decompressor", "zstd").make().decompress, body)

    def test_garbage(self) -> None:
        """
        Whatever comes, there is no other exception, and never much from little.
        """
        chance = Random(1)
        for kind in KINDS:
            body = packed(kind, TEXT)
            for _ in range(300):
                broken = bytearray(body)
                for _ in range(chance.randrange(1, 4)):
                    broken[chance.randrange(len(broken))] = chance.randrange(256)
                try:
                    fed(coding("decompressor", kind).make(), bytes(broken), chance.choice((1, 50, 10000)))
                except CompressionError:
                    pass


class ConfigTests(SynchronousTestCase):
    """
    What is refused.
    """

    def refused(self, *arguments: Any) -> str:
        """
        Why a library is refused.
        """
        with self.assertRaises(ConfigErrors) as caught:
            coding(*arguments)
        return str(caught.exception)

    def test_missing(self) -> None:
        """
        A library that is not installed is named, with what to do.
        """
        with patch.object(compression, "import_module", side_effect=ImportError):
            for direction in ("compressor", "decompressor"):
                self.assertIn("the library brotli, which is not installed: pip", self.refused(direction, "brotli"))
                self.assertIn("the library zstandard, which is", self.refused(direction, "zstd"))
            self.assertEqual(zlib.decompress(coding("compressor", "gzip").make().finish(b"a"), 31), b"a")

    def test_unknown(self) -> None:
        """
        A library that nobody knows is told, with those that are known; so is none at all.
        """
        section = sectionFromYAML(
            "envoy.config.core.v3.TypedExtensionConfig",
            "{name: x, typed_config: {'@type': type.googleapis.com/google.protobuf.StringValue, value: a}}",
        )
        compileCompressor(section)
        self.assertIn("gzip.compressor.v3.Gzip", str(section.report.errors[0]))

    def test_dictionaries(self) -> None:
        """
        One dictionary at most.
        """
        text = "dictionaries: [{inline_string: a}, {inline_string: b}]"
        self.assertIn("more than one dictionary", self.refused("decompressor", "zstd", text))
