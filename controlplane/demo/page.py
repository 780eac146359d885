# -*- test-case-name: tests.controlplane.demo.test_page -*-
"""
The HTML of the product page. All that services say is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

__all__ = ["productPage"]

_STYLE = """
:root { color-scheme: light; font-family: "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; color: #1f2733; }
body { margin: 0; background: #f3f1ec; }
header { background: #22313f; color: #fff; }
.bar { max-width: 62rem; margin: 0 auto; padding: .8rem 1.5rem; display: flex; align-items: center; gap: 1rem; }
.bar b { flex: 1; font-size: 1.1rem; letter-spacing: .02em; }
.bar form { display: flex; gap: .5rem; min-width: 0; }
.bar b, button, .button { white-space: nowrap; }
input { min-width: 0; max-width: 13rem; }
input, button, .button { font: inherit; font-size: .9rem; padding: .35rem .8rem; border: 0; border-radius: .3rem; }
button, .button { background: #e2a03f; color: #22313f; font-weight: 600; text-decoration: none; cursor: pointer; }
main { max-width: 62rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-family: Georgia, "DejaVu Serif", serif; font-size: 2.4rem; margin: 0 0 .5rem; }
.summary { max-width: 44rem; line-height: 1.6; color: #4a5563; }
.columns { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 2fr); gap: 1.5rem; margin-top: 2rem; }
section { background: #fff; border-radius: .6rem; padding: 1.4rem 1.6rem; box-shadow: 0 1px 3px rgba(34, 49, 63, .18); }
h2 { font-size: 1.15rem; margin: 0 0 1rem; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .55rem 1rem; margin: 0; font-size: .95rem; }
dt { color: #6b7685; } dd { margin: 0; text-align: right; }
blockquote { margin: 0; padding: .9rem 0; border-top: 1px solid #e8e5de; line-height: 1.5; }
blockquote p { margin: 0 0 .4rem; }
.stars { font-size: 1.3rem; letter-spacing: .15em; } .black { color: #1f2733; } .red { color: #c0392b; }
.stars i { font-style: normal; color: #d8d4ca; }
small, footer { color: #6b7685; }
.error { background: #fdecea; color: #8e2a20; border-radius: .3rem; padding: .7rem 1rem; margin: 0; line-height: 1.5; }
.served { margin-top: 1rem; font-size: .85rem; color: #6b7685; }
.bar span { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
@media (max-width: 45rem) { .columns { grid-template-columns: 1fr; } }
@media (max-width: 30rem) {
  .bar:has(form) { flex-wrap: wrap; } .bar form { flex: 1 0 100%; } .bar input { flex: 1; max-width: none; }
  h1 { font-size: 1.9rem; }
}
"""

_SUMMARY = """Two pairs of twins, parted as children in a storm at sea, come to the same city on the same day without
knowing of each other. Masters take the wrong servants for their own, a wife locks out her husband, a goldsmith wants
his money from the wrong man. One of Shakespeare's earliest comedies, and his shortest."""

_FIELDS = {
    "type": "Type",
    "pages": "Pages",
    "publisher": "Publisher",
    "language": "Language",
    "ISBN-10": "ISBN-10",
    "ISBN-13": "ISBN-13",
}

_MOST_STARS = 5


def productPage(user: str, details: Mapping[str, Any] | None, reviews: Mapping[str, Any] | None) -> str:
    """
    The whole page.

    @param user: Who has logged in, or nothing.
    @param details: What the service said, or L{None} if it did not; C{reviews} likewise.
    """
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Simple Bookstore App</title><style>{_STYLE}</style></head>
<body><header><div class="bar"><b>BookInfo Sample</b>{_login(user)}</div></header>
<main><h1>The Comedy of Errors</h1><p class="summary">{_SUMMARY}</p>
<div class="columns"><section>{_details(details)}</section><section>{_reviews(reviews)}</section></div></main>
</body></html>
"""


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _login(user: str) -> str:
    if user:
        return f'<span>{_text(user)}</span><a class="button" href="/logout">Sign out</a>'
    return (
        '<form method="post" action="/login"><input name="username" placeholder="User name, e.g. jason" '
        'aria-label="User name" maxlength="100" required><button>Sign in</button></form>'
    )


def _error(text: str) -> str:
    return f'<p class="error">{_text(text)}</p>'


def _details(details: Mapping[str, Any] | None) -> str:
    if details is None:
        why = "Sorry, product details are currently unavailable for this book."
        return f"<h2>Error fetching product details</h2>{_error(why)}"
    rows = "".join(
        f"<dt>{_text(shown)}</dt><dd>{_text(details[name])}</dd>" for name, shown in _FIELDS.items() if name in details
    )
    return f"<h2>Book Details</h2><dl>{rows}</dl>"


def _reviews(reviews: Mapping[str, Any] | None) -> str:
    listed = None if reviews is None else reviews.get("reviews")
    if reviews is None or not isinstance(listed, list):
        why = "Sorry, product reviews are currently unavailable for this book."
        return f"<h2>Error fetching product reviews</h2>{_error(why)}"
    shown = "".join(_review(one) for one in listed if isinstance(one, dict))
    served = f'<p class="served">Reviews served by: {_text(reviews.get("podname", "unknown"))}</p>'
    return f"<h2>Book Reviews</h2>{shown}{served}"


def _review(review: Mapping[str, Any]) -> str:
    who, text = _text(review.get("reviewer", "")), _text(review.get("text", ""))
    return f"<blockquote><p>{text}</p><small>{who}</small>{_rating(review.get('rating'))}</blockquote>"


def _rating(rating: object) -> str:
    if not isinstance(rating, dict):
        return ""
    stars = rating.get("stars")
    if type(stars) is not int:
        return _error(str(rating.get("error", "Ratings service is currently unavailable")))
    given = max(0, min(stars, _MOST_STARS))
    color = "red" if rating.get("color") == "red" else "black"
    empty = f"<i>{'★' * (_MOST_STARS - given)}</i>"
    return f'<div class="stars {color}" title="{given} of {_MOST_STARS}">{"★" * given}{empty}</div>'
