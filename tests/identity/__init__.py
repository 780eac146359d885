"""
Tests of the identity of a workload.
"""
