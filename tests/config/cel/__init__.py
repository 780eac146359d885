"""
Tests of L{meshproxy.config.cel}.
"""
