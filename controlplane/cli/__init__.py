"""
C{meshctl}, the command line of the control plane.
"""

__all__: list[str] = []
