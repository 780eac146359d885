"""
The control plane's side of xDS: what each proxy asked for, what it was sent, and what it said to it.
"""

__all__: list[str] = []
