"""
Prints the syntax tree of an expression, as configurations want it: C{python -m meshproxy.config.cel EXPRESSION}.
"""

from __future__ import annotations

import sys

from meshproxy.config.cel.printing import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
