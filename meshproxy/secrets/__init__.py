"""
Certificates, keys and what peers are verified by: where they come from, how they are watched, and the TLS contexts
that are made of them.
"""
