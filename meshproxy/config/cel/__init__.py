"""
The Common Expression Language (C{cel.expr}), as Envoy has it.

The evaluator is cel-cpp, the one that Envoy runs, by its Python wrapper C{cel-expr-python} (C{pip install
'meshproxy[cel]'}). Here are what Envoy adds and leaves out: which functions there are, where names get their values
from, and how an expression is written in explanations.
"""
