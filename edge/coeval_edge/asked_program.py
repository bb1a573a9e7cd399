"""What another program of this device prints when it is asked once."""

import logging
import subprocess
from collections.abc import Sequence

logger = logging.getLogger(__name__)

ANSWERS_WITHIN_S = 5.0


def answer_of(command: Sequence[str]) -> str | None:
    """What a program prints; None where it is not there, fails, or takes too long."""
    try:
        answer = subprocess.run(command, capture_output=True, timeout=ANSWERS_WITHIN_S, check=True)
    except (OSError, subprocess.SubprocessError) as exc:
        logger.debug("no answer program=%s reason=%s", command[0], exc)
        return None
    return answer.stdout.decode(errors="replace")
