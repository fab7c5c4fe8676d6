"""Hides what a URL holds of secrets before it is printed: passwords, tokens, signed queries."""

import re

_USER = re.compile(r"(:/+)(?:[^\s,]*|[^\s/]*)@")
_PORT_OF_A_HOST = r"\d+(?:[/\s:),;'\"\]]|$)"  # what follows is no password, though an @ may stand further on
_USER_WITH_SPACES = re.compile(rf"(:/+)[^\s/:@]*:(?!{_PORT_OF_A_HOST})(?:(?!:/).){{0,200}}@", re.DOTALL)
_USER_WITHOUT_SCHEME = re.compile(r"[^\s,=/@]*:(?!/)[^\s,]*@")
_END = r"(?=['\"),.;:\]]*(?:\s|$))"  # what follows a URL in a sentence; in a query each of these may stand
_QUERY = re.compile(rf"(:/+[^\s?#'\",)]*[?#])\S*?{_END}")
_PARAMETER = re.compile(rf"([?;])[\w.~%-]+=\S*?{_END}")  # of a path, or of a URL without its scheme

_PORT = re.compile(r"(Invalid port: )\S+?(?=\W*(?:\s|$))")  # httpx: of a password with a slash, what is before it


def mask_urls(text: str) -> str:
    """The text with `***` for the user, the password, parameters, the query and the fragment of each URL in it.

    Also where it is hardly a URL: a path that was made of one (`s3:/KEY:SECRET@bucket`), or one without its scheme.
    """
    for secret, masked in (
        (_USER_WITH_SPACES, r"\1***@"),
        (_USER, r"\1***@"),
        (_USER_WITHOUT_SCHEME, "***@"),
        (_QUERY, r"\1***"),
        (_PARAMETER, r"\1***"),
        (_PORT, r"\1***"),
    ):
        text = secret.sub(masked, text)
    return text
