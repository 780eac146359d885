"""
The control plane, importable as L{meshproxy.controlplane} alone.
"""

if __name__ != "meshproxy.controlplane":
    # Another distribution installs a top-level package "controlplane"; two names for one module would load it twice.
    raise ImportError(f"import this package as meshproxy.controlplane, not as {__name__}")
