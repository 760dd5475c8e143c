"""Whom a worker runs as: user, group, and what its files may be used for."""

from __future__ import annotations

import grp
import os
import pwd

from umbel_kernel.errors import ConfigurationError


def become(user: str | None, group: str | None) -> None:
    """Give up what this process may do for what a user and a group may. All other groups are left, too.

    Args:
        user: a name or a number; None to stay who this is.
        group: likewise; by default the user's own.

    Raises:
        ConfigurationError: there is no such user or group, or this process may not become it.
    """
    if user is None and group is None:
        return
    uid, own = _user(user) if user is not None else (os.getuid(), None)
    gid = _group(group) if group is not None else own
    if gid is None:
        raise ConfigurationError(f"user {user} has no entry among the users, so its group is not known; give --gid")
    if (os.getuid(), os.geteuid(), os.getgid(), os.getegid()) == (uid, uid, gid, gid) and uid:
        return
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise ConfigurationError(
            f"cannot become user {uid} in group {gid}: {error.strerror}; only root can; start it as that user"
        ) from error
    if uid and _can_go_back():
        raise ConfigurationError(f"user {uid} could become root again; it is not safe to go on")


def _can_go_back() -> bool:
    try:
        os.setuid(0)
    except OSError:
        return False
    return True


def _user(text: str) -> tuple[int, int | None]:
    """The number of a user and that of its group, if it has an entry."""
    try:
        entry = pwd.getpwuid(int(text)) if text.isdigit() else pwd.getpwnam(text)
    except KeyError:
        if text.isdigit():
            return int(text), None
        raise ConfigurationError(f"there is no user {text!r} on this machine") from None
    return entry.pw_uid, entry.pw_gid


def _group(text: str) -> int:
    if text.isdigit():
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise ConfigurationError(f"there is no group {text!r} on this machine") from None
