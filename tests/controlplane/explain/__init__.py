"""
Tests for C{meshproxy.controlplane.explain}.
"""
