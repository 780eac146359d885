"""
What chooses the clusters of routes.
"""
