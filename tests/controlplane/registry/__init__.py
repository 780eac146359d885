"""
Tests for L{meshproxy.controlplane.registry}.
"""
