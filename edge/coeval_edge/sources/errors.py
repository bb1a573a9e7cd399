"""Why a sensor or a clock source cannot be used: one error for each thing to do about it."""

import errno
import os
from collections.abc import Mapping

from coeval.errors import CoevalError


class SourceUnusable(CoevalError):
    """Base of what may be wrong with a source."""


class SourceAbsent(SourceUnusable):
    """There is no such device, chip or line: not wired, not configured, or a wrong name."""


class SourceForbidden(SourceUnusable):
    """The device is there, but this user may not use it so."""


class SourceBusy(SourceUnusable):
    """Another program holds it."""


class SourceUnfit(SourceUnusable):
    """It is there, but is another kind of device, or cannot do what is asked."""


class SourceLost(SourceUnusable):
    """It worked, and was unplugged or unbound; opening it anew may help."""


class SourceSilent(SourceUnusable):
    """It works, but nothing came in time; waiting on is sensible."""


BY_CODE: dict[int, type[SourceUnusable]] = {
    errno.ENOENT: SourceAbsent,
    errno.ENXIO: SourceAbsent,
    errno.EACCES: SourceForbidden,
    errno.EPERM: SourceForbidden,
    errno.EROFS: SourceForbidden,
    errno.EBUSY: SourceBusy,
    errno.EAGAIN: SourceBusy,  # what the lock of an exclusively opened port answers
    errno.ENOTTY: SourceUnfit,
    errno.EINVAL: SourceUnfit,
    errno.EOPNOTSUPP: SourceUnfit,
    errno.ENODEV: SourceLost,
    errno.EIO: SourceLost,
    errno.ETIMEDOUT: SourceSilent,
}


def named(
    exc: OSError,
    *,
    doing: str,
    advice: Mapping[type[SourceUnusable], str],
    is_opening: bool = False,
) -> SourceUnusable:
    """The error of a system call, named after what happened.

    Args:
        exc: what the kernel answered.
        doing: what was tried on which device, as `open /dev/pps0`.
        advice: what to do about each; `SourceUnusable` stands for all others.
        is_opening: nothing worked yet, so nothing can be lost.
    """
    kind = BY_CODE.get(exc.errno or 0, SourceUnusable)
    if is_opening and kind is SourceLost:
        kind = SourceUnfit
    said = os.strerror(exc.errno) if exc.errno else str(exc)
    todo = advice.get(kind) or advice[SourceUnusable]
    return kind(f"cannot {doing}: {said}; {todo}")
