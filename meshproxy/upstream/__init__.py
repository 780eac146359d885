"""
Clusters: their endpoints, how they are found and chosen, the pools of connections to them and the breakers that
limit those.
"""
