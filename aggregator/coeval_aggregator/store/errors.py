"""What may be wrong with a store; each message names the store and what to do."""

from coeval.errors import BadConfig, CoevalError


class StoreUnavailable(CoevalError):
    """The store does not take or give data at the moment: full, locked, away. It may come back."""


class StoreUnusable(BadConfig):
    """The store cannot be used as it stands: of a newer schema, or no store of Coeval at all."""
