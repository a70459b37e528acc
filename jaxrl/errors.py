"""Errors a user can act on: each names the argument, the value it had and what is allowed."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A request that cannot be carried out as it stands. The command line prints it as one line and exits with 2."""


class InvalidArgument(UserError):
    """An argument has a value that is not allowed.

    Args:
        argument: name of the argument as the user gave it.
        value: what it was set to.
        allowed: what would have been accepted, in words.
    """

    def __init__(self, argument: str, value: object, allowed: str):
        super().__init__(f"{argument}={value!r}: {allowed}")
        self.argument, self.value, self.allowed = argument, value, allowed


def unknown(kind: str, name: str, known: Iterable[str]) -> InvalidArgument:
    """The error for a name that is not registered, with the nearest names that are."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if not near:  # "hopper" for "brax/hopper": a part of a registered name
        near = [k for k in known if name.lower() in k.lower()][:3]
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"
    return InvalidArgument(kind, name, f"unknown {kind}; {hint}")
