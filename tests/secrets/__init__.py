"""
Tests of L{meshproxy.secrets}.
"""
