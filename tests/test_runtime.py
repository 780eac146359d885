"""
L{meshproxy.runtime}.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section, sectionFromYAML
from meshproxy.runtime import Runtime, always, fractionOf, never
from meshproxy.stats.store import Store

LAYERED = "envoy.config.bootstrap.v3.LayeredRuntime"
CORE = "envoy.config.core.v3."

TWO_LAYERS = """
layers:
- name: static
  static_layer:
    share: 50
    part: {numerator: 5, denominator: MILLION}
    nested: {a: {b: 7}}
    flag: true
    half: 1.5
    negative: -3
    text: hello
    quoted: "30"
- name: admin
  admin_layer: {}
"""


def noDraw() -> float:
    """
    A source of random numbers that nobody may ask.
    """
    raise AssertionError("a random number was drawn for a certainty")


def withLayers(text: str = TWO_LAYERS, random: Callable[[], float] = noDraw) -> Runtime:
    """
    A runtime with the layers of a text.
    """
    runtime = Runtime(random)
    section = sectionFromYAML(LAYERED, text)
    runtime.update(section)
    section.report.raiseIfAny()
    return runtime


def fractional(text: str) -> Section:
    """
    A C{RuntimeFractionalPercent}.
    """
    return sectionFromYAML(CORE + "RuntimeFractionalPercent", text)


class FractionTests(SynchronousTestCase):
    """
    L{Runtime.fraction} compiles a C{RuntimeFractionalPercent}.
    """

    def test_certainties(self) -> None:
        """
        0% and 100% without a key are L{never} and L{always} themselves, so that a filter can see it.
        """
        runtime = Runtime(noDraw)
        self.assertIs(runtime.fraction(fractional("default_value: {numerator: 0}")), never)
        self.assertIs(runtime.fraction(fractional("default_value: {numerator: 100}")), always)
        self.assertIs(runtime.fraction(fractional("default_value: {numerator: 200}")), always)
        self.assertEqual((never(), always()), (False, True))

    def test_missing(self) -> None:
        """
        A missing section means what the caller says.
        """
        runtime = Runtime(noDraw)
        self.assertIs(runtime.fraction(None), never)
        self.assertIs(runtime.fraction(None, always), always)
        self.assertIs(runtime.share(None), never)

    def test_denominators(self) -> None:
        """
        The number that is drawn is compared with the numerator over its denominator, which itself does not hit.
        """
        for denominator, size in (("HUNDRED", 100), ("TEN_THOUSAND", 10000), ("MILLION", 1000000)):
            section = fractional(f"default_value: {{numerator: 30, denominator: {denominator}}}")
            for drawn, hits in ((0.0, True), (29.5 / size, True), (30 / size, False), (0.9999999, False)):
                decide = Runtime(lambda drawn=drawn: drawn).fraction(section)  # type: ignore[misc]
                self.assertEqual(decide(), hits, (denominator, drawn))

    def test_key(self) -> None:
        """
        A whole number under the key is a percentage, numerator and denominator are what they say.
        """
        draws = [0.49, 0.5, 0.000004, 0.000005]
        runtime = withLayers(random=lambda: draws.pop(0))
        share = runtime.fraction(fractional("{default_value: {numerator: 0}, runtime_key: share}"))
        part = runtime.fraction(fractional("{default_value: {numerator: 0}, runtime_key: part}"))
        self.assertEqual([share(), share(), part(), part()], [True, False, True, False])

    def test_keyIsLive(self) -> None:
        """
        A compiled function follows what is written later, certainties without drawing.
        """
        runtime = withLayers()
        decide = runtime.fraction(fractional("{default_value: {numerator: 100}, runtime_key: later}"))
        seen = [decide()]
        for text in ("0", "100", "250", "{numerator: 0}", "{numerator: 1000000, denominator: million}", ""):
            runtime.modify({"later": text})
            seen.append(decide())
        self.assertEqual(seen, [True, False, True, True, False, True, True])

    def test_unfitValue(self) -> None:
        """
        As in Envoy, a value that is no share (text, boolean, negative, broken number) leaves the default.
        """
        runtime = withLayers()
        for key in ("text", "flag", "half", "negative"):
            decide = runtime.fraction(fractional(f"{{default_value: {{numerator: 100}}, runtime_key: {key}}}"))
            self.assertTrue(decide(), key)

    def test_hits(self) -> None:
        """
        For a share that the request tells, the first key that has a value overrides.
        """
        runtime = withLayers("layers: [{name: s, static_layer: {all: 100, none: 0}}]")
        self.assertTrue(runtime.hits(0.0, "unset", "all", "none"))
        self.assertFalse(runtime.hits(1.0, "none", "all"))
        self.assertTrue(runtime.hits(1.0, "unset"))

    def test_fractionOf(self) -> None:
        """
        A missing percentage is nothing.
        """
        section = sectionFromYAML("envoy.type.v3.FractionalPercent", "{numerator: 25, denominator: TEN_THOUSAND}")
        self.assertEqual((fractionOf(None), fractionOf(section)), (0.0, 0.0025))


class NumberTests(SynchronousTestCase):
    """
    Numbers and flags.
    """

    def test_integer(self) -> None:
        """
        Whole numbers count, quoted ones too; anything else leaves the default.
        """
        runtime = withLayers()
        found = {key: runtime.number(key, 9) for key in ("share", "nested.a.b", "quoted", "half", "negative", "text")}
        self.assertEqual(found, {"share": 50, "nested.a.b": 7, "quoted": 30, "half": 9, "negative": 9, "text": 9})
        section = sectionFromYAML(CORE + "RuntimeUInt32", "{default_value: 4, runtime_key: share}")
        other = sectionFromYAML(CORE + "RuntimeUInt32", "{default_value: 4, runtime_key: unset}")
        self.assertEqual((runtime.integer(section)(), runtime.integer(other)()), (50, 4))

    def test_double(self) -> None:
        """
        Any number counts.
        """
        runtime = withLayers()
        for key, value in (("half", 1.5), ("share", 50.0), ("negative", -3.0), ("unset", 0.25), ("flag", 0.25)):
            section = sectionFromYAML(CORE + "RuntimeDouble", f"{{default_value: 0.25, runtime_key: {key}}}")
            self.assertEqual(runtime.double(section)(), value, key)

    def test_percent(self) -> None:
        """
        A percentage stays within 0 and 100.
        """
        runtime = withLayers("layers: [{name: s, static_layer: {low: -3, high: 101, fit: 12.5}}]")
        for key, value in (("low", 0.0), ("high", 100.0), ("fit", 12.5), ("unset", 7.0)):
            section = sectionFromYAML(CORE + "RuntimePercent", f"{{default_value: {{value: 7}}, runtime_key: {key}}}")
            self.assertEqual(runtime.percent(section)(), value, key)

    def test_featureFlag(self) -> None:
        """
        A boolean under the key counts; without one, C{default_value}; without that, what the caller says.
        """
        runtime = withLayers()
        flag = CORE + "RuntimeFeatureFlag"
        self.assertTrue(runtime.featureFlag(sectionFromYAML(flag, "{default_value: false, runtime_key: flag}"))())
        self.assertFalse(runtime.featureFlag(sectionFromYAML(flag, "{default_value: false, runtime_key: share}"))())
        self.assertIs(runtime.featureFlag(None, True), always)
        self.assertIs(runtime.featureFlag(None), never)


class LayerTests(SynchronousTestCase):
    """
    Layers, and who may write to them.
    """

    def test_laterLayersWin(self) -> None:
        """
        Of each key the value of the last layer that has it holds; a key may be missing from any.
        """
        runtime = withLayers("layers: [{name: a, static_layer: {x: 1, y: 2}}, {name: b, static_layer: {x: 3}}]")
        self.assertEqual((runtime.number("x", 0), runtime.number("y", 0)), (3, 2))

    def test_snapshot(self) -> None:
        """
        Each key with its value in each layer, and the one that holds.
        """
        runtime = withLayers("layers: [{name: s, static_layer: {x: 1, y: {numerator: 2}}}, {name: a, admin_layer: {}}]")
        runtime.modify({"x": "5", "z": "yes"})
        self.assertEqual(
            runtime.snapshot(),
            {
                "layers": ["s", "a"],
                "entries": {
                    "x": {"final_value": "5", "layer_values": ["1", "5"]},
                    "y": {"final_value": "{numerator: 2}", "layer_values": ["{numerator: 2}", ""]},
                    "z": {"final_value": "yes", "layer_values": ["", "yes"]},
                },
            },
        )

    def test_withoutConfiguration(self) -> None:
        """
        Without C{layered_runtime} there is no layer, and none to write to.
        """
        runtime = Runtime(noDraw)
        runtime.update(None)
        self.assertEqual(runtime.snapshot(), {"layers": [], "entries": {}})
        self.assertRaises(ValueError, runtime.modify, {"x": "1"})

    def test_modifiedValuesSurviveReload(self) -> None:
        """
        A reload replaces static layers and keeps what was written by hand.
        """
        runtime = withLayers()
        runtime.modify({"written": "1"})
        text = "layers: [{name: s, static_layer: {x: 2}}, {name: a, admin_layer: {}}]"
        runtime.update(sectionFromYAML(LAYERED, text))
        self.assertEqual((runtime.number("written", 0), runtime.number("x", 0), runtime.number("share", 9)), (1, 2, 9))

    def test_modifyRefused(self) -> None:
        """
        What cannot be read changes nothing, not even what stands beside it; so does a missing admin layer.
        """
        runtime = withLayers()
        for bad in ("[1]", "{a: 1}", "{numerator: x}", "{numerator: 1, denominator: TWO}", "{: ["):
            with self.assertRaises(ValueError, msg=bad):
                runtime.modify({"good": "1", "bad": bad})
        self.assertEqual(runtime.number("good", 0), 0)
        with self.assertRaises(ValueError):
            withLayers("layers: []").modify({"x": "1"})

    def test_refused(self) -> None:
        """
        Lists and nulls are no runtime values, two layers need two names, and there is one admin layer at most.
        """
        section = sectionFromYAML(
            LAYERED,
            "layers: [{name: s, static_layer: {x: [1], y: {z: null}, q: {numerator: -1}}}, {name: s, admin_layer: {}},"
            " {name: t, admin_layer: {}}]",
        )
        Runtime(noDraw).update(section)
        self.assertEqual(
            [error.path for error in section.report.errors],
            [
                "layers[0].static_layer.q",
                "layers[0].static_layer.x",
                "layers[0].static_layer.y.z",
                "layers[1].name",
                "layers[2].admin_layer",
            ],
        )

    def test_stats(self) -> None:
        """
        Envoy's metrics of the runtime.
        """
        store = Store()
        runtime = Runtime(noDraw, store.scope())
        runtime.update(sectionFromYAML(LAYERED, TWO_LAYERS))
        runtime.modify({"x": "1"})
        self.assertEqual(store.counters["runtime.load_success"].value, 2)
        gauges = {name: gauge.value for name, gauge in store.gauges.items()}
        self.assertEqual(gauges, {"runtime.num_keys": 9, "runtime.num_layers": 2, "runtime.admin_overrides_active": 1})
