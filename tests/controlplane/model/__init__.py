"""
Tests for L{meshproxy.controlplane.model}.
"""
