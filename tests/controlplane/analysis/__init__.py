"""
Tests for L{meshproxy.controlplane.analysis}.
"""
