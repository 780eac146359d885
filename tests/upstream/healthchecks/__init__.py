"""
L{meshproxy.upstream.healthchecks}.
"""
