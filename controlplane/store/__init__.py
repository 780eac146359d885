"""
Where resources are kept: one interface (L{meshproxy.controlplane.store.interfaces.IStore}), and what stands behind it.
"""

__all__: list[str] = []
