"""Hides what a URL holds of secrets before it is printed: passwords, tokens, signed queries."""

import re

_USER = re.compile(r"(:/+)(?:[^\s,]*|[^\s/]*)@")
_USER_WITHOUT_SCHEME = re.compile(r"[^\s,=/@]*:(?!/)[^\s,]*@")
_QUERY = re.compile(r"(:/+[^\s?#'\",)]*[?#])[^\s'\",)]*")


def mask_urls(text: str) -> str:
    """The text with `***` for the user, the password, the query and the fragment of each URL in it.

    Also where it is hardly a URL: a path that was made of one (`s3:/KEY:SECRET@bucket`), or one without its scheme.
    """
    return _QUERY.sub(r"\1***", _USER_WITHOUT_SCHEME.sub("***@", _USER.sub(r"\1***@", text)))
