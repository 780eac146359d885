"""
The proxy's own admin API: Envoy's paths, formats and methods.
"""
