"""What is done when the thread that receives has ended by a defect: it is told, and begun anew.

In: failures, as the connection tells them. Out: when to connect anew, the later the more often it
failed, and what to say meanwhile. A message that makes receiving fail comes again on every
connection: that stays told.
"""

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 30.0
CALM_S = 10.0
"""What has not failed for so long after connecting anew is well again."""


class FailedReceiving:
    """The books on failures."""

    def __init__(self) -> None:
        """Begin without one."""
        self._num = 0
        self._reason = ""
        self._due_s: float | None = None
        """When to connect anew; None: that was done."""
        self._well_s = 0.0
        """When all is well again, unless it fails before."""

    def note(self, reason: str, *, now_s: float) -> None:
        """Take in a failure.

        Args:
            reason: the defect.
            now_s: the aggregator's monotonic clock.
        """
        self._reason = reason
        self._due_s = now_s + min(FIRST_RETRY_S * 2.0**self._num, LONGEST_RETRY_S)
        self._num += 1

    def is_due(self, *, now_s: float) -> bool:
        """Whether to connect anew now; told once a failure."""
        if self._due_s is None or now_s < self._due_s:
            return False
        self._due_s, self._well_s = None, now_s + CALM_S
        return True

    def problem(self, *, now_s: float) -> str | None:
        """What is wrong; None: nothing is."""
        if self._due_s is None and now_s >= self._well_s:
            self._num = 0
        if not self._num:
            return None
        often = "" if self._num == 1 else f", {self._num} times in a row"
        return (
            f"receiving: failed{often} ({self._reason:.200}); it is begun anew, and the broker "
            "delivers again; if this repeats, report the traceback in the log and update coeval"
        )
