"""
CPU and memory of this proxy beside Envoy, nginx and HAProxy, on the same work in one run.

C{python -m bench --help} has the options, C{docs/development/benchmarks.md} the method. Nothing of the package
imports this.
"""
