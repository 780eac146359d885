"""
Who is who: SPIFFE identities, the authority that certifies them, and the tokens that prove one for the first time.
"""

__all__: list[str] = []
