"""
What would become of a request, and why: listener, filter chain, virtual host, route with its near misses, filters,
cluster, time-outs, each with the line of the configuration that decided it.

Nothing of this is kept by what serves: it walks the sections of the configuration again, and asks the compiled objects
only for their verdict.
"""
