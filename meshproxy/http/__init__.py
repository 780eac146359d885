"""
HTTP: the stream, its filter chain, the connection manager and the router's engine.
"""
