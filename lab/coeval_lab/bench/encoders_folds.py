"""Recordings that are trained on, judged by encoders that never saw them: one left out a training.

Beside them stand encoders trained as short with the recording, and those that ship. What leaving
it out costs is what they had learned by heart. Embeddings alone: nothing else is learned.
"""

from collections.abc import Iterator
from dataclasses import replace

from coeval_lab.bench.align_plan import RealPair
from coeval_lab.bench.encoders_cells import Methods, methods_of, real_answers
from coeval_lab.bench.encoders_plan import EMBEDDINGS, VARIANTS, Plan, Row
from coeval_lab.bench.encoders_rows import rows_of_answers
from coeval_lab.bench.encoders_variants import NEVER_SAW, folds_in

SAW = VARIANTS["both"]
PAIRS = (
    ("audio-text", "ami_dev00", "audio", "speaker_turns"),
    ("audio-text", "ami_trn01", "audio", "speaker_turns"),
    ("audio-text", "ami_trn05", "audio", "speaker_turns"),
    ("metadata-metadata", "comma2k19_example", "can_speed", "can_wheels"),
    ("metadata-metadata", "comma2k19_example", "accel", "frame_velocity"),
    ("metadata-metadata", "comma2k19_example", "gyro", "frame_orientation"),
    ("metadata-metadata", "comma2k19_example", "can_steer", "gyro"),
    ("metadata-metadata", "px4_appended", "imu", "attitude"),
    ("metadata-metadata", "px4_appended", "imu", "actuators"),
    ("metadata-metadata", "neon_demo_2025", "imu", "gaze"),
    ("metadata-text", "px4_appended", "imu", "log"),
    ("metadata-text", "neon_demo_2025", "imu", "log"),
)
"""Pairs of streams of recordings that are trained on."""


def fold_rows(plan: Plan) -> Iterator[Row]:
    """Lines of every pair of every recording that some encoders never saw; none without such."""
    whole = replace(plan, windows_s=(None,))
    saw = {name: path for name, path in methods_of(plan, {}).variants.items() if name == SAW}
    folds = folds_in(plan.baselines)
    for pair, recording, first, second in PAIRS:
        if recording not in folds:
            continue
        material = RealPair(pair=pair, recording=recording, first=first, second=second)
        methods = Methods(cca={}, variants={**saw, NEVER_SAW: folds[recording]})
        yield from rows_of_answers(
            [
                replace(answer, held_out=answer.method == NEVER_SAW)
                for answer in real_answers(material, whole, methods)
                if answer.method in (EMBEDDINGS, SAW, NEVER_SAW)
            ]
        )
