"""A session as JSON lines: one object a line, what it is first."""

import json
from typing import TextIO

from coeval_aggregator.export.content import Content
from coeval_aggregator.export.messages import messages
from coeval_aggregator.export.tables import SIGN


def write(content: Content, file: TextIO) -> None:
    """Write the lines: the session, its streams, then everything in the order of time.

    Raises:
        OSError: the disk refuses.
    """
    timeline = content.timeline
    session = {
        "session": content.session.name,
        "timeline": None
        if timeline is None
        else {"reference": timeline.reference, "boot": timeline.boot},
        "utc_of_zero_ns": content.utc_of_zero_ns(),
        "sign": SIGN,
    }
    say(file, session)
    for run in content.runs():
        say(file, {"stream": run.name, "boot": run.boot, "descriptor": run.descriptor})
    for message in messages(content):
        say(file, {"topic": message.topic} | message.value)


def say(file: TextIO, value: object) -> None:
    """One line."""
    file.write(json.dumps(value, allow_nan=False) + "\n")
