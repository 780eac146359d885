"""
Tests for L{meshproxy.stats.settings}.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.stats.quantiles import DEFAULT_BOUNDARIES
from meshproxy.stats.settings import StatsSettings, compileStatsSettings


class SettingsTests(SynchronousTestCase):
    """
    L{compileStatsSettings} reads a C{stats_config}.
    """

    def compile(self, value: Mapping[str, object]) -> StatsSettings:
        """
        Compile; faults go to C{self.faults}.
        """
        section = Section.of("envoy.config.metrics.v3.StatsConfig", value)
        settings = compileStatsSettings(section)
        self.faults = [f"{error.path}: {error.why}" for error in section.report.errors]
        return settings

    def tags(self, value: Mapping[str, object], name: str) -> tuple[str, dict[str, str]]:
        """
        What is left of a name, and its labels.
        """
        base, tags = self.compile(value).extractor.extract(name)
        return base, dict(tags)

    def test_default(self) -> None:
        """
        Without a configuration, Envoy's defaults.
        """
        settings = compileStatsSettings(None)
        self.assertTrue(settings.accepts("anything"))
        self.assertEqual(settings.boundaries("anything"), DEFAULT_BOUNDARIES)
        self.assertEqual(settings.extractor.extract("cluster.a.x").name, "cluster.x")

    def test_matcher(self) -> None:
        """
        Lists of what to keep, of what not to, and nothing at all.
        """
        patterns = {"patterns": [{"prefix": "cluster."}, {"exact": "server.live"}]}
        for matcher, kept in [
            ({"inclusion_list": patterns}, ["cluster.a.x", "server.live"]),
            ({"exclusion_list": patterns}, ["http.in.x"]),
            ({"reject_all": True}, []),
            ({"reject_all": False}, ["cluster.a.x", "server.live", "http.in.x"]),
        ]:
            accepts = self.compile({"stats_matcher": matcher}).accepts
            self.assertEqual([name for name in ("cluster.a.x", "server.live", "http.in.x") if accepts(name)], kept)

    def test_buckets(self) -> None:
        """
        The first setting that matches a name, in order of size.
        """
        settings = self.compile(
            {
                "histogram_bucket_settings": [
                    {"match": {"suffix": "_time"}, "buckets": [10, 1, 5]},
                    {"match": {"prefix": "cluster."}, "buckets": [7]},
                ]
            }
        )
        self.assertEqual(settings.boundaries("cluster.a.rq_time"), (1, 5, 10))
        self.assertEqual(settings.boundaries("cluster.a.length"), (7,))
        self.assertEqual(settings.boundaries("http.a.length"), DEFAULT_BOUNDARIES)

    def test_tags(self) -> None:
        """
        Labels by regex, with one group or two, and fixed ones.
        """
        value = {
            "stats_tags": [
                {"tag_name": "cluster", "regex": "^cluster\\.((.+?(\\..+?\\.svc)?)\\.)"},
                {"tag_name": "kind", "regex": "(_total)$"},
                {"tag_name": "zone", "fixed_value": "z"},
            ],
            "use_all_default_tags": False,
        }
        self.assertEqual(
            self.tags(value, "cluster.a.b.svc.rq_total"),
            ("cluster.rq", {"zone": "z", "cluster": "a.b.svc", "kind": "_total"}),
        )
        self.assertEqual(self.faults, [])

    def test_someDefaults(self) -> None:
        """
        A tag of Envoy's by its name alone, where not all are wanted; once where they are.
        """
        value = {"stats_tags": [{"tag_name": "envoy.cluster_name"}], "use_all_default_tags": False}
        self.assertEqual(self.tags(value, "cluster.a.rq_200"), ("cluster.rq_200", {"envoy.cluster_name": "a"}))
        value = {"stats_tags": [{"tag_name": "envoy.cluster_name"}]}
        self.assertEqual(self.tags(value, "cluster.a.x"), ("cluster.x", {"envoy.cluster_name": "a"}))

    def test_faults(self) -> None:
        """
        Tags that cannot be found are told.
        """
        self.compile(
            {
                "stats_tags": [
                    {"tag_name": "a", "regex": "(("},
                    {"tag_name": "b", "regex": "x"},
                    {"tag_name": "envoy.cluster_nam"},
                ]
            }
        )
        self.assertEqual(len(self.faults), 3)
        self.assertTrue(self.faults[0].startswith("stats_tags[0].regex: not a regular expression of RE2: missing )"))
        self.assertTrue(self.faults[1].startswith("stats_tags[1].regex: the regular expression has no group"))
        self.assertIn("did you mean envoy.cluster_name", self.faults[2])
