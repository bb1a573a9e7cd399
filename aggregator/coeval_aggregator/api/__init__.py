"""The aggregator's API over HTTP: what is kept, what is known now, and how it does."""
