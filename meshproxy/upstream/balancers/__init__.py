"""
How an endpoint is chosen: one policy, one file.
"""
