"""Colours that mean the same in every picture."""

from coeval.samples import Modality

OF_MODALITY: dict[Modality, str] = {
    "video": "#4C78A8",
    "image": "#72B7B2",
    "audio": "#F58518",
    "metadata": "#54A24B",
    "text": "#B279A2",
}
UNKNOWN = "#BBBBBB"
"""What has no place on the timeline."""
OURS, THEIRS = "#4C78A8", "#E45756"
