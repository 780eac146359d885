"""
Tests of what chooses clusters.
"""
