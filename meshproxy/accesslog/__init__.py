# -*- test-case-name: tests.accesslog -*-
"""
Access logs: what is known about a stream, the operators that show it, filters and sinks.
"""
