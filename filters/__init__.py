"""
The built-in filters, importable as L{meshproxy.filters} alone: one filter, one file, each found as a plugin.
"""

if __name__ != "meshproxy.filters":
    # Another distribution installs a top-level package "filters"; two names for one module would also load
    # every filter twice.
    raise ImportError(f"import this package as meshproxy.filters, not as {__name__}")
