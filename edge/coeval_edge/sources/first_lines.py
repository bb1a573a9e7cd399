"""The first lines of a source that nobody labelled, kept until they tell what they are.

Nothing is lost meanwhile: the lines that were kept become samples with the stamps they came with.
"""

from coeval.recognition import Recognition, recognise_lines
from coeval.time import NS_PER_S
from coeval_edge.sources.line_modality import LineModality

ENOUGH_LINES = 40
PATIENCE_NS = 5 * NS_PER_S
"""After the first line nobody waits longer for more of them."""


class FirstLines:
    """Lines and their stamps, in the order in which they came."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []
        """What came, with the node's clock."""

    def add(self, line: str, t_node_ns: int) -> None:
        """Keep a line that is not blank."""
        if line.strip():
            self.lines.append((line, t_node_ns))

    def is_enough(self, t_node_ns: int) -> bool:
        """Whether there are enough lines, or enough time has passed since the first."""
        if not self.lines:
            return False
        return len(self.lines) >= ENOUGH_LINES or t_node_ns - self.lines[0][1] >= PATIENCE_NS

    def recognise(self) -> Recognition:
        """What they are. A source that is opened anew may begin in the middle of a line."""
        texts = [line for line, _ in self.lines]
        return recognise_lines(texts[1:] if len(texts) > 2 else texts)


def taken_as(found: Recognition) -> LineModality:
    """As what a source's lines are read: numbers only where that is sure.

    Text is what any line is. Sentences of a receiver differ in their fields; they are read as what
    they are by a source of kind `nmea`, and as text by any other.
    """
    is_numbers = found.modality == "metadata" and found.format != "NMEA 0183"
    return "metadata" if is_numbers else "text"
