"""Relevance: which stretches of a stream carry nothing, and why.

Samples go in as they come, before any feature; out comes what the stream is at this moment:
`relevant`, or `irrelevant` with a reason by name. A stretch is called irrelevant only after it has
lasted longer than any silence that could be information; the first sample that says something
ends it.
"""

from coeval.relevance.judgement import REASONS, Reason
from coeval.relevance.watch import Relevance, RelevanceWatch, Stretch

__all__ = ["REASONS", "Reason", "Relevance", "RelevanceWatch", "Stretch"]
