"""
JSON Web Tokens: who issues them, what they are verified with, and what is required of a request's.
"""
