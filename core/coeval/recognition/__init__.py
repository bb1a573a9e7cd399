"""What an unlabelled stream is: found from its lines and numbers, or left open.

Lines or numbers go in, a `Recognition` comes out: the modality, and for numbers what senses them
and in which units, by what physics leaves no doubt about. What is not sure is said to be unsure: a
wrong label is worse than none.
"""

from coeval.recognition.answer import SURE, Channel, Recognition, TimeColumn
from coeval.recognition.lines import recognise_lines
from coeval.recognition.sensors import recognise_channels

__all__ = [
    "SURE",
    "Channel",
    "Recognition",
    "TimeColumn",
    "recognise_channels",
    "recognise_lines",
]
