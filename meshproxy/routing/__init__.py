"""
The route table: from the head of a request to a route, and what that route does to heads, paths and hosts.
"""
