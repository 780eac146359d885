"""
Tests for L{meshproxy.controlplane}.
"""
