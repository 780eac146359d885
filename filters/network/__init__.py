"""
Built-in network filters: one filter, one file.
"""
