"""Which code trained an encoder: the commit that goes into its file."""

import subprocess
from pathlib import Path


def current_commit() -> str:
    """The commit of this checkout, marked '-dirty' where files differ; 'unknown' outside one."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()
