"""The errors a user may meet: each says what, which, expected, got and what to do."""


class CoevalError(Exception):
    """Base of every error Coeval raises on purpose; the CLI prints it as one line, exit code 1."""


class BadRecording(CoevalError):
    """A recording folder, or a file in it, cannot be used as it stands."""


class BadConfig(CoevalError):
    """A configuration file or value is wrong; the CLI exits with code 2."""


class BadBlock(CoevalError):
    """Bytes received as a block are not one; the receiver drops and counts them."""


class EncoderMismatch(CoevalError):
    """An encoder file was made for other features than this version computes."""


class NotEnoughEvidence(CoevalError):
    """Too little data to estimate anything; no number is invented."""
