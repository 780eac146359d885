"""
gRPC, client and server, on this project's own HTTP/2. Messages are bytes here; who calls knows their types.
"""

__all__: list[str] = []
