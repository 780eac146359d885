"""
The Twisted glue: the reactor, socket transports that write at once, splice, listening, connecting, DNS, deadlines.
"""
