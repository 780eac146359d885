"""
Why did this request get this response? What becomes of a request at a proxy, and which field of which resource set it.

The proxy's half, Envoy's configuration, is told by the engine that serves requests
(L{meshproxy.interfaces.IExplainer}, a plugin); here stands where that configuration comes from, and what the next
proxy makes of the request.
"""
