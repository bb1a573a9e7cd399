"""What lines can be read as."""

from typing import Literal, get_args

from coeval.errors import BadConfig

LineModality = Literal["text", "metadata"]
LINE_MODALITIES: tuple[LineModality, ...] = get_args(LineModality)


def check_line_modality(value: str | None) -> None:
    """See that lines can be read so.

    Raises:
        BadConfig: they cannot.
    """
    if value is not None and value not in LINE_MODALITIES:
        raise BadConfig(f"modality must be {' or '.join(LINE_MODALITIES)}, got {value!r}")
