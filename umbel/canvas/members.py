"""Attributes of a signature that stand for members of its dict."""

from __future__ import annotations

from typing import Any


class Member:
    """An attribute that is a member of the dict; None where the dict has none."""

    def __init__(self, key: str, doc: str) -> None:
        self.key = key
        self.__doc__ = doc

    def __get__(self, sig: Any, owner: Any) -> Any:
        return self if sig is None else sig.get(self.key)

    def __set__(self, sig: Any, value: Any) -> None:
        sig[self.key] = value


class Option:
    """An attribute that is one of the signature's options; None where it has no such option."""

    def __init__(self, key: str, doc: str) -> None:
        self.key = key
        self.__doc__ = doc

    def __get__(self, sig: Any, owner: Any) -> Any:
        return self if sig is None else sig["options"].get(self.key)

    def __set__(self, sig: Any, value: Any) -> None:
        sig["options"][self.key] = value
