"""
Tests of L{meshproxy.controlplane.demo}. The whole of it runs in L{tests.integration.test_demo}.
"""
