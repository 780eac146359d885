"""
Built-in http filters: one filter, one file.
"""
