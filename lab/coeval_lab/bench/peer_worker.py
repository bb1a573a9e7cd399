"""Runs the peers, in the Python that has them: one JSON job a line in, one JSON answer a line out.

Not imported by Coeval: started as a file by `.venv-peers`' Python. Answers are seconds with
Coeval's sign: a sound heard at x in the first file is heard at x + offset in the second.
"""

import contextlib
import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version

DISTRIBUTIONS = ("ffsubsync", "audio-offset-finder", "syncstart", "audalign", "nearest-advocate")


def versions():
    """Installed versions, or why there is none."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing: not installed in .venv-peers"
    return found


def audio_offset_finder(job):
    """MFCC correlation; 'offset' is where the second file starts in the first."""
    from audio_offset_finder.audio_offset_finder import find_offset_between_files

    return -float(find_offset_between_files(job["first"], job["second"])["time_offset"])


def syncstart(job):
    """Correlation of the whole files; answers which file to cut, and by how much."""
    import matplotlib

    matplotlib.use = lambda *_, **__: None  # it insists on a window system even without plots
    from syncstart import file_offset

    sys.argv = ["syncstart", job["first"], job["second"], "-t", "400", "-q", "-s"]
    file, offset = file_offset()
    # A file that must be cut hears everything later.
    return float(offset) if file == job["second"] else -float(offset)


def audalign(job):
    """Its best method for this material: correlation, finer than at its default 8 kHz.

    Its spectrogram and fingerprint methods were 14 ms off on ami_dev00 and ami_trn01 (2026-11-25).
    """
    import audalign as library

    recogniser = library.CorrelationRecognizer()
    recogniser.config.sample_rate = 44_100
    answer = library.align_files(job["first"], job["second"], recognizer=recogniser)
    if not answer:
        return None
    first, second = (os.path.basename(job[key]) for key in ("first", "second"))
    # It answers how far each file must be moved later.
    return float(answer[first]) - float(answer[second])


def ffsubsync(job):
    """Its command; the offset it prints is what it adds to the subtitles."""
    with tempfile.NamedTemporaryFile(suffix=".srt") as out:
        done = subprocess.run(
            [
                os.path.join(os.path.dirname(sys.executable), "ffsubsync"),
                job["first"],
                "-i",
                job["second"],
                "-o",
                out.name,
                "--max-offset-seconds",
                "120",
                "--no-fix-framerate",
                "--vad",
                job.get("vad", "webrtc"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    # The log ends its lines with the place in the source: read the number right after the words.
    found = re.search(r"offset seconds:\s*(-?[\d.]+)", done.stderr + done.stdout)
    if found:
        return -float(found[1])
    raise RuntimeError((done.stderr.strip().splitlines() or ["no answer"])[-1])


def nearest_advocate(job):
    """Nearest-neighbour distances of two lists of event times."""
    import numpy as np
    from nearest_advocate import nearest_advocate as search

    first, second = (np.array(job[key], np.float32) for key in ("first", "second"))
    reach = float(job["reach_s"])
    tried = search(arr_ref=first, arr_sig=second, td_min=-reach, td_max=reach, sps=50)
    return float(tried[np.argmin(tried[:, 1]), 0])


PEERS = {
    "audio-offset-finder": audio_offset_finder,
    "syncstart": syncstart,
    "audalign": audalign,
    "ffsubsync": ffsubsync,
    "nearest-advocate": nearest_advocate,
    "echo": lambda job: job["offset_s"],
    "versions": lambda _: versions(),
}


def cpu_s():
    """CPU time of this process and of the children it waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main():
    """Answer jobs until standard input ends; the peers' own talk is thrown away."""
    for line in sys.stdin:
        job = json.loads(line)
        before = cpu_s()
        answer = {"offset_s": None, "error": None}
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                answer["offset_s"] = PEERS[job["peer"]](job)
        except (Exception, SystemExit) as exc:
            answer["error"] = f"{type(exc).__name__}: {exc}"[:300]
        answer["cpu_s"] = cpu_s() - before
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
