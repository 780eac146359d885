"""
Active health checks: each endpoint of a cluster is asked, again and again, whether it is well.

L{meshproxy.upstream.healthchecks.checker} keeps a session for each endpoint. The session is its health and its time; a
probe asks, over HTTP, TCP or gRPC.
"""
