"""
What is implemented of the messages that belong to no filter: one module per part of Envoy's API.

Whoever implements another field adds its name to the line of its message here.
"""

from meshproxy.config.declarations import (
    accesslog,
    bootstrap,
    cluster,
    core,
    http,
    listener,
    matcher,
    metrics,
    route,
    tls,
)

__all__ = ["accesslog", "bootstrap", "cluster", "core", "http", "listener", "matcher", "metrics", "route", "tls"]
