"""
Print a command of README.md, so that the gate runs what a reader would: C{python readme.py "Test it"}.
"""

import re
import sys
from pathlib import Path


def command(heading: str, number: int) -> str:
    """
    A C{sh} block of README.md.

    @param heading: The section it stands in.
    @param number: Which one of that section, from 0.
    """
    text = (Path(__file__).resolve().parent.parent / "README.md").read_text()
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    if section is None:
        raise SystemExit(f"README.md has no section '{heading}'")
    return re.findall(r"^```sh\n(.*?)^```", section[1], re.M | re.S)[number].strip()


if __name__ == "__main__":
    print(command(sys.argv[1], int((sys.argv[2:] or ["0"])[0])))
