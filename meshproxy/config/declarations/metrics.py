# -*- test-case-name: tests.config.test_declarations -*-
"""
C{envoy.config.metrics.v3}.
"""

from __future__ import annotations

from meshproxy.config.supported import declare

__all__: list[str] = []

_METRICS = "envoy.config.metrics.v3."

declare(
    _METRICS + "StatsConfig", "stats_tags", "use_all_default_tags", "stats_matcher", "histogram_bucket_settings"
)
declare(_METRICS + "TagSpecifier", "tag_name", "regex", "fixed_value")
declare(_METRICS + "StatsMatcher", "reject_all", "exclusion_list", "inclusion_list")
declare(_METRICS + "HistogramBucketSettings", "match", "buckets")
