"""Hides what a URL holds of secrets before it is printed: passwords, tokens, signed queries."""

import re

_USER = re.compile(r"(?<=://)[^\s,]*@")
_QUERY = re.compile(r"(://[^\s?'\",)]*)\?[^\s'\",)]*")


def mask_urls(text: str) -> str:
    """The text with `***` for the user, the password and the query of each URL in it."""
    return _QUERY.sub(r"\1?***", _USER.sub("***@", text))
