"""
A service mesh that its users can read, change and trust: a data plane that takes Envoy's configuration, and a
control plane that takes Istio's resources.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
