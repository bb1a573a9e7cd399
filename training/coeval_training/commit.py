"""Which code made something: the commit that goes into an encoder's file, or beside a number."""

import subprocess
from pathlib import Path


def current_commit(*, num_digits: int = 40) -> str:
    """The commit of this checkout, marked '-dirty' where files differ; 'unknown' outside one."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", f"--abbrev={num_digits}", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()
