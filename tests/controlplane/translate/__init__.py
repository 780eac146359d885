"""
Tests for L{meshproxy.controlplane.translate}.
"""
