"""Cuts secrets out of texts that libraries and clients wrote: what is named or looks like one. Linear in the text.

A secret in a sentence ("it is abc") is not found; docs/operations.md says what is.
"""

from __future__ import annotations

import re

CUT = "..."
_QUOTE = r"\\{0,8}[\"']"  # within JSON within JSON, too
_IS = rf"(?:{_QUOTE}\s?[:,]|=)\s?b?(?:{_QUOTE})?"
"""Between a name and its value, in repr of arguments, dicts and lists of headers, and in JSON."""
_TO_QUOTE = r"(?<=\")[^\"\n]*|(?<=')[^'\n]*|(?<![\"'])"
_NAME = (
    r"(?:password|passwd|passphrase|\bpwd|secret|token|signature|credential|(?:api|access|private)[-_]?key)[\w-]{0,40}"
)
_HEADER = rf"(?:{_QUOTE}\s?[:,]|[:=])\s{{0,3}}b?(?:{_QUOTE})?"
_SECRETS = (
    re.compile(r"((?<=[^\s?])\?)\S+"),  # a query: clients may write quotes and brackets into it
    re.compile(r"((?<=\S)%3f)\S+", re.IGNORECASE),  # one that was encoded into a path by mistake
    re.compile(r"(\b(?:bearer|basic)\s+)[\w.~+/=-]+", re.IGNORECASE),
    re.compile(r"(\bdigest\s+)(?=\w{1,40}=)[^\n]+", re.IGNORECASE),
    re.compile(r"(\bAWS4-HMAC-SHA256\s+)[^\n]+"),
    re.compile(rf"(authorization{_HEADER}(?:[a-z][\w-]{{0,40}}\s{{1,3}})?)[^\s\"']+", re.IGNORECASE),
    re.compile(rf"(cookie{_HEADER})(?:{_TO_QUOTE}[^\n]+)", re.IGNORECASE),
    re.compile(rf"(\bauth{_HEADER}\()[^)\n]*", re.IGNORECASE),
    re.compile(r"(\b(?:lt|whsec)_)[\w+/=-]{8,}"),  # an API key, a webhook secret
    re.compile(r"(\b(?:hf|gh[oprsu])_)[A-Za-z0-9]{20,}"),  # of Hugging Face and GitHub
    re.compile(r"(\bgithub_pat_)\w{20,}"),
    re.compile(r"(\b(?:AKIA|ASIA))[A-Z0-9]{12,}"),  # of AWS
    re.compile(r"(\bsk-)[\w-]{16,}"),  # of servers of language models
    re.compile(r"(\beyJ)[\w.-]{16,}"),  # a JSON Web Token
    re.compile(rf"({_NAME}{_IS})(?:{_TO_QUOTE}[^\s\"',;&)}}\]]+)", re.IGNORECASE),
    # As in a header. A short word may begin a sentence about a setting.
    re.compile(
        rf"({_NAME}:\s{{0,3}}b?(?:{_QUOTE})?)(?:{_TO_QUOTE}(?=\S{{6}}|\S{{0,5}}\d)\S+)",
        re.IGNORECASE,
    ),
    re.compile(r"(\binput_value=)[^\n]+"),  # of pydantic's errors: prompts, URLs, whole requests
)
"""What comes after the first group is cut out."""
_WORD = re.compile(r"\S+")
_LOGIN = re.compile(r"(://)[^\s/]+(?=@)")
"""User and password of a URL, up to its last @: passwords may have some."""
_HOST = re.compile(r"(?:[^:\[]*|\[[^\]]*\])(?::\d*)?")
"""And port. Else it is a user and the beginning of a password with a slash."""


def without_secrets(text: str) -> str:
    """`text` without queries of URLs and paths, logins in URLs, values of headers that authorize, keys and tokens by
    their usual prefixes, values named as secrets, and input that pydantic repeats."""
    if "://" in text and "@" in text:
        text = _WORD.sub(_without_login, text)
    for secret in _SECRETS:
        text = secret.sub(rf"\g<1>{CUT}", text)
    return text


def _without_login(word: re.Match[str]) -> str:
    """A word without the user and password of the URL in it. Only in web addresses is an @ after a slash usual: in
    others, a password has a slash that should have been encoded."""
    scheme, mark, rest = word[0].partition("://")
    end, first = rest.rfind("@"), rest.partition("/")[0]
    if end < 0:
        return word[0]
    if scheme.lower().endswith(("http", "https")) and ("@" in first or _HOST.fullmatch(first)):
        return _LOGIN.sub(rf"\g<1>{CUT}", word[0])
    return f"{scheme}{mark}{CUT}" if "?" in rest[:end] else f"{scheme}{mark}{CUT}{rest[end:]}"
