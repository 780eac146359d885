"""
What schemathesis is to leave alone: watches, which answer for ever.
"""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """
    Let no request be a watch.
    """
    if isinstance(case.query, dict):
        case.query.pop("watch", None)
