"""
Built-in listener filters: one filter, one file.
"""
