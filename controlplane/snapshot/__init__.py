"""
What each proxy is to have, by version: made when something changes that it is made of, and kept.
"""

__all__: list[str] = []
