"""
Sections that are alike but for numbers.
"""

from __future__ import annotations

from random import Random

import hpack
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2.hpack import Encoder, Field
from meshproxy.codec.http2.templates import Template, keyOf, numberString

_TIME = b"x-envoy-upstream-service-time"


def _answer(length: bytes | None, time: bytes | None, server: bytes = b"envoy") -> tuple[Field, ...]:
    fields = [(b":status", b"200"), (b"server", server)]
    if length is not None:
        fields.append((b"content-length", length))
    if time is not None:
        fields.append((_TIME, time))
    return tuple(fields)


class KeyTests(SynchronousTestCase):
    """
    L{keyOf}.
    """

    def test_numbersAreOpen(self) -> None:
        """
        The numbers are not told apart, and the head is as it was.
        """
        one = {b"server": b"envoy", b"content-length": b"5", _TIME: b"12"}
        other = {b"server": b"envoy", b"content-length": b"7", _TIME: b"3"}
        self.assertEqual(keyOf(200, one), keyOf(200, other))
        self.assertEqual(one, {b"server": b"envoy", b"content-length": b"5", _TIME: b"12"})

    def test_allElseIsNot(self) -> None:
        """
        Status, values, names, their order, and whether a number is there at all, make another key.
        """
        heads = [
            {b"server": b"envoy", b"content-length": b"5", _TIME: b"12"},
            {b"server": b"other", b"content-length": b"5", _TIME: b"12"},
            {b"via": b"envoy", b"content-length": b"5", _TIME: b"12"},
            {b"content-length": b"5", b"server": b"envoy", _TIME: b"12"},
            {_TIME: b"12", b"server": b"envoy", b"content-length": b"5"},
            {b"server": b"envoy", b"content-length": b"5"},
            {b"server": b"envoy", _TIME: b"12"},
            {b"server": b"envoy"},
        ]
        keys = {keyOf(status, head) for head in heads for status in (200, 404)}
        self.assertEqual(len(keys), 2 * len(heads))


class TemplateTests(SynchronousTestCase):
    """
    L{Template}.
    """

    def test_percent(self) -> None:
        """
        A byte that means something in a format means itself in a section.
        """
        template = Template([b"%b", b"\x25", b"%%d"], [(1, b"content-length")])
        self.assertEqual(template.fill({b"content-length": b"12"}), b"%b\x25\x0212%%d")

    def test_noNumber(self) -> None:
        """
        What is no number, or longer than one can be, is left to who judges it.
        """
        template = Template([b"a", b"b"], [(0, b"content-length"), (1, _TIME)])
        self.assertEqual(template.fill({b"content-length": b"1", _TIME: b"2"}), b"a\x011b\x012")
        for value in (b"", b"1\r\nx: y", b"-1", b"9" * 21, b"\xb2"):
            self.assertIsNone(template.fill({b"content-length": b"1", _TIME: value}))
            self.assertIsNone(template.fill({b"content-length": value, _TIME: b"1"}))
            self.assertEqual(numberString(value), b"")

    def test_manyNumbers(self) -> None:
        """
        However many there are, each is what it is.
        """
        for number in range(10000):
            text = b"%d" % number
            self.assertEqual(numberString(text), bytes((len(text),)) + text)


class EncoderTests(SynchronousTestCase):
    """
    What the encoder makes of such fields.
    """

    def encode(self, encoder: Encoder, fields: tuple[Field, ...]) -> tuple[bytes, bool]:
        """
        Encode an answer the way a stream does.

        @return: The section, and whether it was recalled.
        """
        first = dict(fields[1:])
        key = keyOf(int(fields[0][1]), first)
        template = encoder.templates.get(key)
        block = None if template is None else template.fill(first)
        return (encoder.encode(fields, key), False) if block is None else (block, True)

    def test_recalled(self) -> None:
        """
        Once the rest is in the table, no number keeps a section from being recalled, nor grows the table: only the
        name of the one that the static table does not have goes in.
        """
        encoder, decoder = Encoder(), hpack.Decoder()
        recalled = 0
        for number in range(200):
            fields = _answer(b"%d" % (number * 7), b"%d" % number)
            block, isRecalled = self.encode(encoder, fields)
            self.assertEqual(decoder.decode(block, raw=True), list(fields))
            recalled += isRecalled
        self.assertGreater(recalled, 190)
        self.assertEqual(len(decoder.header_table.dynamic_entries), 2)

    def test_evicted(self) -> None:
        """
        A name that was driven out of the table goes in again, and meanwhile is written in full.
        """
        encoder, decoder = Encoder(), hpack.Decoder()
        for number in range(300):
            name = b"v%d" % (number // 4) * 150
            fields = _answer(b"5", b"%d" % number, name if number % 8 < 6 else b"envoy")
            block, _ = self.encode(encoder, fields)
            self.assertEqual(decoder.decode(block, raw=True), list(fields))

    def test_noTable(self) -> None:
        """
        A peer without a dynamic table reads each of them all the same.
        """
        encoder, decoder = Encoder(), hpack.Decoder()
        encoder.peerAllows(0)
        for number in range(20):
            fields = _answer(b"%d" % number, b"%d" % number)
            block, _ = self.encode(encoder, fields)
            self.assertEqual(decoder.decode(block, raw=True), list(fields))
            self.assertFalse(decoder.header_table.dynamic_entries)

    def test_roundTrips(self) -> None:
        """
        The package C{hpack} reads answers of all kinds, with numbers and with what is none, in any order, through
        changes of the table's size.
        """
        random = Random(3)
        encoder, decoder = Encoder(), hpack.Decoder()
        numbers = [None, b"0", b"17", b"200", b"65536", b"x", b"", b"9" * 30, b"7" * 200]
        recalled = 0
        for _ in range(3000):
            fields = list(_answer(random.choice(numbers), random.choice(numbers[:6]), b"s%d" % random.randrange(2)))
            if random.random() < 0.004:
                fields.append((b"x-more", b"%d" % random.randrange(40)))
            if random.random() < 0.3:
                fields[1:] = reversed(fields[1:])
            if random.random() < 0.004:
                decoder.max_allowed_table_size = size = random.choice([0, 64, 120, 300, 4096])
                encoder.peerAllows(size)
            block, isRecalled = self.encode(encoder, tuple(fields))
            self.assertEqual(decoder.decode(block, raw=True), fields)
            recalled += isRecalled
        self.assertGreater(recalled, 500)
