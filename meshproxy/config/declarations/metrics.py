# -*- test-case-name: tests.config.test_declarations -*-
"""
C{envoy.config.metrics.v3}.
"""

from __future__ import annotations

from meshproxy.config.supported import accept, declare

__all__: list[str] = []

_METRICS = "envoy.config.metrics.v3."

declare(_METRICS + "StatsConfig", "stats_tags", "use_all_default_tags", "stats_matcher", "histogram_bucket_settings")
declare(_METRICS + "TagSpecifier", "tag_name", "regex", "fixed_value")
declare(_METRICS + "StatsMatcher", "reject_all", "exclusion_list", "inclusion_list")
declare(_METRICS + "HistogramBucketSettings", "match", "buckets")
accept(_METRICS + "HistogramBucketSettings", "bins", "there are as many as values need")
declare(_METRICS + "StatsSink", "name", "typed_config")
declare(_METRICS + "StatsdSink", "address", "tcp_cluster_name", "prefix")
declare(_METRICS + "DogStatsdSink", "address", "prefix", "max_bytes_per_datagram")
