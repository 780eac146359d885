# -*- test-case-name: tests.stats -*-
"""
Counters, gauges, histograms and text readouts under Envoy's names, and how they are shown.
"""
