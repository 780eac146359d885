# -*- test-case-name: tests.config.test_structure -*-
"""
Tests for L{meshproxy.config.structure}.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

from attrs import Attribute, Factory, field, frozen
from attrs.validators import ge, le, min_len
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Report, sectionFromYAML
from meshproxy.config.nodes import Node
from meshproxy.config.scalars import WrongValue
from meshproxy.config.structure import Seconds, goDuration, structure, structureOrRaise
from meshproxy.config.yamltext import parseYAML
from meshproxy.errors import ConfigErrors


class Color(Enum):
    """
    An enumeration whose values are text.
    """

    RED = "red"
    BLUE = "blue"


class Level(Enum):
    """
    An enumeration whose values are numbers, so that a text names its members.
    """

    LOW = 1
    HIGH = 2


@frozen
class Inner:
    """
    A part.
    """

    count: int
    name: str = field(default="x")

    @name.validator
    def _nameIsGood(self, attribute: Attribute[str], value: str) -> None:
        if value == "bad":
            raise ValueError("no good name")


def _reciprocal(value: float) -> float:
    if not value:
        raise ValueError("zero has no reciprocal")
    return 1 / value


@frozen
class Outer:
    """
    Everything that the structurer knows.
    """

    delay: Seconds
    percentage: float = field(default=100.0, validator=[ge(0), le(100)])
    pathPrefixes: list[str] = Factory(list)
    color: Color = Color.RED
    level: Level = Level.LOW
    speed: Literal["fast", "slow", 3, True] = "fast"
    inner: Inner | None = None
    named: dict[str, Inner] = Factory(dict)
    pair: tuple[int, ...] = ()
    unique: frozenset[str] = frozenset()
    raw: Any = None
    node: Node | None = None
    port: int | str = 80
    token: bytes = b""
    on: bool = False
    renamed: str = field(default="", metadata={"key": "class"})
    ratio: float = field(default=1.0, converter=_reciprocal)
    computed: int = field(init=False, default=7)


class StructureTests(SynchronousTestCase):
    """
    L{structure} makes instances.
    """

    def make(self, text: str) -> Outer:
        """
        An instance from YAML.
        """
        return structureOrRaise(Outer, parseYAML(text, "f"))

    def faults(self, text: str, camelCase: bool = False) -> list[str]:
        """
        The faults of a text.
        """
        report = Report()
        self.assertIsNone(structure(Outer, parseYAML(text, "f"), report, "", camelCase))
        return [str(error) for error in report.ordered()]

    def test_defaults(self) -> None:
        """
        What is not there has the default of the class; so has what is null.
        """
        self.assertEqual(self.make("delay: 1s\npercentage: ~\npair:\n"), Outer(delay=Seconds(1.0)))

    def test_everything(self) -> None:
        """
        A value for every kind of annotation.
        """
        made = self.make(
            "delay: 1h30m\npercentage: 5\npath_prefixes: [/a]\ncolor: blue\nlevel: HIGH\nspeed: slow\n"
            "inner: {count: 5.0}\nnamed: {a b: {count: 1, name: n1}}\npair: [1, 2]\nunique: [a, a]\n"
            "raw: {z: [1, null]}\n"
            "node: [q]\nport: http\ntoken: é\non: true\nclass: c\nratio: 4\n"
        )
        assert made.node is not None
        self.assertEqual(made.node.place.line, 12)
        self.assertEqual(
            made,
            Outer(
                delay=Seconds(5400.0),
                percentage=5.0,
                pathPrefixes=["/a"],
                color=Color.BLUE,
                level=Level.HIGH,
                speed="slow",
                inner=Inner(5, "x"),
                named={"a b": Inner(1, "n1")},
                pair=(1, 2),
                unique=frozenset(["a"]),
                raw={"z": [1, None]},
                node=made.node,
                port="http",
                token="é".encode(),
                on=True,
                renamed="c",
                ratio=4,
            ),
        )
        self.assertEqual((type(made.percentage), made.ratio, made.computed), (float, 0.25, 7))

    def test_bothNames(self) -> None:
        """
        Keys are in snake case or as the attribute is called.
        """
        self.assertEqual(self.make("{delay: 1s, pathPrefixes: [b]}").pathPrefixes, ["b"])

    def test_allFaults(self) -> None:
        """
        Every fault has its place and its path, and none hides another.
        """
        text = (
            "percentage: x\npath_prefixs: [a]\npathPrefixes: [5, a]\ncolor: bleu\nlevel: 1\nspeed: 4\n"
            "inner: {count: true}\nnamed: {a b: {}}\npair: 3\nport: []\non: 1\nraw: 1\n"
        )
        self.assertEqual(
            self.faults(text),
            [
                "f:1:1  delay: is required, and not set",
                "f:1:13  percentage: 'x' is not a number",
                "f:2:1  path_prefixs: 'path_prefixs' is not known here; did you mean path_prefixes?",
                "f:3:16  pathPrefixes[0]: the number 5 is not a string; put it in quotes",
                "f:4:8  color: 'bleu' is not one of red, blue; did you mean blue?",
                "f:5:8  level: the number 1 is not one of LOW, HIGH",
                "f:6:8  speed: the number 4 is not one of fast, slow, 3, True",
                "f:7:16  inner.count: the boolean true is not a whole number",
                'f:8:14  named["a b"].count: is required, and not set',
                "f:9:7  pair: the number 3 is not a list",
                "f:10:7  port: a list is not any of int, str",
                "f:11:5  on: the number 1 is not true or false",
            ],
        )

    def test_unknownKey(self) -> None:
        """
        An unknown key that resembles none is told the known ones, in the style of who asks.
        """
        self.assertIn("only delay, percentage, path_prefixes, color", self.faults("{delay: 1s, zzz: 1}")[0])
        self.assertIn(
            "only delay, percentage, pathPrefixes, color", self.faults("{delay: 1s, zzz: 1}", camelCase=True)[0]
        )
        self.assertNotIn("computed", self.faults("{delay: 1s, zzz: 1}")[0])

    def test_literalKinds(self) -> None:
        """
        1 is not true, nor is 3 a text.
        """
        self.assertEqual(self.make("{delay: '0', speed: 3}").speed, 3)
        self.assertIs(self.make("{delay: 1s, speed: true}").speed, True)
        self.assertEqual(len(self.faults("{delay: 1s, speed: 1}")), 1)
        self.assertEqual(len(self.faults("{delay: 1s, speed: '3'}")), 1)

    def test_validators(self) -> None:
        """
        Validators of all attributes speak, each at its own key.
        """
        self.assertEqual(
            self.faults("delay: 1s\npercentage: 101\ninner: {count: 1, name: bad}\n"),
            ["f:2:13  percentage: 'percentage' must be <= 100: 101.0", "f:3:25  inner.name: no good name"],
        )

    def test_validatorOfTwo(self) -> None:
        """
        A validator that compares with an attribute which could not be read has nothing to say.
        """

        @frozen
        class Pair:
            low: int
            high: int = field()

            @high.validator
            def _aboveLow(self, attribute: Attribute[int], value: int) -> None:
                if value < self.low:
                    raise ValueError("high is below low")

        report = Report()
        self.assertIsNone(structure(Pair, {"low": "x", "high": 1}, report))
        self.assertEqual([error.path for error in report.errors], ["low"])
        self.assertIsNone(structure(Pair, {"low": 2, "high": 1}, report))
        self.assertEqual([error.why for error in report.errors[1:]], ["high is below low"])

    def test_severalValidators(self) -> None:
        """
        Two attributes that are both wrong are both told.
        """

        @frozen
        class Two:
            first: int = field(validator=ge(1))
            second: str = field(validator=min_len(2))

        report = Report()
        self.assertIsNone(structure(Two, {"first": 0, "second": "a"}, report))
        self.assertEqual([error.path for error in report.errors], ["first", "second"])

    def test_converter(self) -> None:
        """
        A converter's complaint is at its key.
        """
        self.assertEqual(self.faults("delay: 1s\nratio: 0\n"), ["f:2:8  ratio: zero has no reciprocal"])

    def test_wholeInstance(self) -> None:
        """
        What the class finds when it has all attributes is at the mapping.
        """

        @frozen
        class Range:
            low: int
            high: int

            def __attrs_post_init__(self) -> None:
                if self.low > self.high:
                    raise ValueError("low is above high")

        report = Report()
        self.assertIsNone(structure(Range, parseYAML("low: 2\nhigh: 1", "f"), report, "value"))
        self.assertEqual([str(error) for error in report.errors], ["f:1:1  value: low is above high"])

    def test_typedStruct(self) -> None:
        """
        A filter's configuration: a TypedStruct, whose faults have places in the file.
        """
        text = "type_url: x\nvalue:\n  delay: 2s\n  inner: {count: 3}\n"
        section = sectionFromYAML("xds.type.v3.TypedStruct", text, "f")
        made = structure(Outer, section, section.report)
        assert made is not None
        self.assertEqual((made.delay, made.inner), (2.0, Inner(3)))
        wrong = sectionFromYAML("xds.type.v3.TypedStruct", text.replace("2s", "2"), "f")
        self.assertIsNone(structure(Outer, wrong, wrong.report))
        self.assertEqual(
            [str(error) for error in wrong.report.errors],
            ["f:3:10  value.delay: the number 2 is not a duration such as 1.5s, 250ms or 1h30m; did you mean 2s?"],
        )

    def test_plainData(self) -> None:
        """
        Plain data have paths and no places.
        """
        self.assertEqual(structureOrRaise(Inner, {"count": 1}), Inner(1))
        error = self.assertRaises(ConfigErrors, structureOrRaise, Inner, {"count": "1"}, "spec")
        self.assertEqual(str(error), "spec.count: '1' is not a whole number; did you mean 1?")

    def test_notAMapping(self) -> None:
        """
        An instance is made of a mapping only.
        """
        self.assertEqual(self.faults("[1]"), ["f:1:1  a list is not a mapping"])

    def test_unknownAnnotation(self) -> None:
        """
        An annotation that the structurer does not know is a mistake of who wrote the class.
        """

        @frozen
        class Odd:
            it: complex

        self.assertRaises(TypeError, structureOrRaise, Odd, {"it": 1})


class GoDurationTests(SynchronousTestCase):
    """
    L{goDuration} reads Go's durations.
    """

    def test_read(self) -> None:
        """
        Sums of numbers with units.
        """
        cases = {"1.5s": 1.5, "250ms": 0.25, "1h30m": 5400.0, "0": 0.0, "-1m1s": -61.0, "10us": 1e-5, "5ns": 5e-9}
        for text, expected in cases.items():
            self.assertAlmostEqual(goDuration(text), expected, 12, text)

    def test_refused(self) -> None:
        """
        Numbers without a unit, units without a number, and days, which Go does not have.
        """
        for text in ("", "5", "s", "1d", "1 s", "1s ", "1e3s", "--1s"):
            self.assertRaises(WrongValue, goDuration, text)
