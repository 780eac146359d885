"""
Listeners: where connections come in, which filter chain they get, and how they drain.
"""
