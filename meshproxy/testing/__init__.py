"""
The kit for people who test filters and meshes: everything runs in memory and in virtual time, nothing waits.

L{FilterHarness} runs one filter, L{MemoryProxy} a whole proxy from its bootstrap.
"""

from meshproxy.testing.backend import Answer, MemoryBackend
from meshproxy.testing.bootstraps import httpBootstrap, httpFilter, typedStruct
from meshproxy.testing.clock import VirtualReactor
from meshproxy.testing.harness import FilterHarness, Result
from meshproxy.testing.messages import Request, Response
from meshproxy.testing.network import MemoryNetwork
from meshproxy.testing.peers import HTTPClient, NoAnswer, Peer
from meshproxy.testing.proxy import MemoryProxy

__all__ = [
    "Answer",
    "FilterHarness",
    "HTTPClient",
    "MemoryBackend",
    "MemoryNetwork",
    "MemoryProxy",
    "NoAnswer",
    "Peer",
    "Request",
    "Response",
    "Result",
    "VirtualReactor",
    "httpBootstrap",
    "httpFilter",
    "typedStruct",
]
