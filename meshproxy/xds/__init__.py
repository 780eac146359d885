"""
xDS: configuration from a control plane, and the words that it is spoken in.
"""

__all__: list[str] = []
