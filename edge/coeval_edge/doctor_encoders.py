"""What `coeval doctor` says of the encoders: what runs them here, and do they answer rightly."""

from collections.abc import Callable

from coeval.errors import EncoderMismatch
from coeval.samples import MODALITIES
from coeval_edge.doctor_finding import Finding
from coeval_edge.encoder import Encoder


def examine_encoders(*, load: Callable[..., Encoder] = Encoder.load) -> Finding:
    """Open every encoder that ships, on the provider that `auto` chooses."""
    try:
        encoders = [load(modality) for modality in MODALITIES]
    except EncoderMismatch as exc:
        return Finding(
            topic="encoders",
            state="poor",
            found="what ships cannot be used here",
            accuracy="none by content",
            advice=f"{exc}; install coeval again",
        )
    providers = sorted({encoder.provider for encoder in encoders})
    passed_over = sorted({reason for encoder in encoders for reason in encoder.passed_over})
    return Finding(
        topic="encoders",
        state="good",
        found=f"golden vectors met on {', '.join(providers)}"
        + (f"; passed over: {'; '.join(passed_over)}" if passed_over else ""),
        accuracy="what content tells",
        advice="",
    )
