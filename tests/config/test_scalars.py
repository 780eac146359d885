# -*- test-case-name: tests.config.test_scalars -*-
"""
Tests for L{meshproxy.config.scalars}.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.nodes import Value
from meshproxy.config.pool import messageType
from meshproxy.config.scalars import ScalarReader, WrongValue, durationParts, readDuration, scalarReader


def readerOf(typeName: str, field: str) -> ScalarReader:
    """
    The reader for a field of a real message.
    """
    return scalarReader(messageType(typeName).fields_by_name[field])


class ReaderTests(SynchronousTestCase):
    """
    L{scalarReader} gives one reader per kind of field.
    """

    def refused(self, read: ScalarReader, values: Iterable[Value]) -> None:
        """
        Assert that each of some values is refused.
        """
        for value in values:
            self.assertRaises(WrongValue, read, value)

    def test_boolean(self) -> None:
        """
        Booleans, and in quotes the words that Envoy takes; no numbers.
        """
        read = readerOf("google.protobuf.BoolValue", "value")
        for value in (True, "true", "True", "yes", "1", "t"):
            self.assertIs(read(value), True, value)
        for value in (False, "false", "NO", "0"):
            self.assertIs(read(value), False, value)
        self.refused(read, [1, 0, "on", "", None, [], {}])

    def test_integer(self) -> None:
        """
        Whole numbers within the type's range, also in quotes, hexadecimal, and as fractions that have none.
        """
        read = readerOf("google.protobuf.UInt32Value", "value")
        for value in (16, 16.0, "16", "0x10", "16.0", "1.6e1", "+16"):
            found = read(value)
            self.assertEqual((found, type(found)), (16, int), value)
        self.refused(read, [True, 1.5, "1.5", "", "x", " 1", "1_0", -1, 2**32, None, [], float("nan"), float("inf")])
        self.refused(read, ["9" * 1_000_000])

    def test_ranges(self) -> None:
        """
        Each width has its own limits.
        """
        for name, low, high in (
            ("Int32Value", -(2**31), 2**31 - 1),
            ("Int64Value", -(2**63), 2**63 - 1),
            ("UInt32Value", 0, 2**32 - 1),
            ("UInt64Value", 0, 2**64 - 1),
        ):
            read = readerOf(f"google.protobuf.{name}", "value")
            self.assertEqual([read(low), read(str(high))], [low, high])
            self.refused(read, [low - 1, high + 1])

    def test_real(self) -> None:
        """
        Numbers, in quotes too, and the three special names.
        """
        read = readerOf("google.protobuf.DoubleValue", "value")
        for value in (5, 5.0, "5", "+5.0", "50e-1"):
            self.assertEqual(read(value), 5.0)
        self.assertEqual(read("-Infinity"), -math.inf)
        self.assertTrue(math.isnan(float(read("NaN"))))
        self.refused(read, [True, "inf", "nan", "", "x", None, "1 "])

    def test_float(self) -> None:
        """
        What 32 bits cannot hold is refused, infinity is not.
        """
        read = readerOf("google.protobuf.FloatValue", "value")
        self.assertEqual(read(3.4e38), 3.4e38)
        self.assertEqual(read("Infinity"), math.inf)
        self.refused(read, [3.5e38, -1e300])

    def test_string(self) -> None:
        """
        Strings only; a number or a boolean without quotes is told to have some.
        """
        read = readerOf("google.protobuf.StringValue", "value")
        self.assertEqual(read("é"), "é")
        for value in (5, True, 1.5):
            self.assertEqual(self.assertRaises(WrongValue, read, value).wanted, "a string; put it in quotes")
        self.assertEqual(self.assertRaises(WrongValue, read, None).wanted, "a string")
        self.refused(read, ["\ud800", [], {}])

    def test_bytes(self) -> None:
        """
        Base64 in both alphabets, with and without padding.
        """
        read = readerOf("google.protobuf.BytesValue", "value")
        for value in ("+/8=", "-_8=", "-_8", "+/8"):
            self.assertEqual(read(value), b"\xfb\xff")
        self.assertEqual(read(""), b"")
        self.refused(read, ["***", "a", 5, None, "é"])

    def test_enumeration(self) -> None:
        """
        Names in any case, and numbers; numbers of no value pass, as enumerations are open.
        """
        read = readerOf("envoy.config.cluster.v3.Cluster", "lb_policy")
        for value in ("RANDOM", "random", "Random", 3, "3"):
            self.assertEqual(read(value), 3)
        self.assertEqual(read(77), 77)
        self.refused(read, [True, 3.0, None, "", "round-robin", 2**31, []])

    def test_nearValue(self) -> None:
        """
        A mistyped name gets the list, and the near one.
        """
        read = readerOf("envoy.config.cluster.v3.Cluster", "lb_policy")
        wanted = self.assertRaises(WrongValue, read, "ROUND_ROBBIN").wanted
        self.assertTrue(wanted.startswith("one of ROUND_ROBIN, LEAST_REQUEST, "))
        self.assertTrue(wanted.endswith("; did you mean ROUND_ROBIN?"))


class DurationTests(SynchronousTestCase):
    """
    Durations are seconds with an s.
    """

    def test_parts(self) -> None:
        """
        Seconds and nanoseconds, which have the same sign.
        """
        cases = {
            "1.5s": (1, 500_000_000),
            "0s": (0, 0),
            "-0.5s": (0, -500_000_000),
            "-2.000000001s": (-2, -1),
            "315576000000s": (315_576_000_000, 0),
        }
        for text, expected in cases.items():
            self.assertEqual(durationParts(text), expected, text)
        self.assertEqual(readDuration("1.25s"), 1.25)

    def test_refused(self) -> None:
        """
        Anything else, as Envoy refuses it.
        """
        refused: tuple[Value, ...] = (
            "1",
            "1ms",
            ".5s",
            "1.s",
            "+1s",
            "1.1234567891s",
            "315576000001s",
            "s",
            "",
            5,
            1.5,
            None,
            True,
            [],
        )
        for value in refused:
            self.assertRaises(WrongValue, durationParts, value)

    def test_meant(self) -> None:
        """
        What is clear enough is told as it should be.
        """
        cases: list[tuple[Value, str]] = [
            ("10ms", "0.01s"),
            ("5", "5s"),
            (5, "5s"),
            (0.25, "0.25s"),
            ("1h", "3600s"),
            ("2m", "120s"),
        ]
        for value, meant in cases:
            wanted = self.assertRaises(WrongValue, durationParts, value).wanted
            self.assertEqual(wanted, f"a duration such as 1.5s; did you mean {meant}?")
        self.assertEqual(self.assertRaises(WrongValue, durationParts, "soon").wanted, "a duration such as 1.5s")
