"""
What is valid, and does not do what it says.
"""

__all__: list[str] = []
