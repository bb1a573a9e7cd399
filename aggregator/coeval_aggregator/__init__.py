"""The server: ingest, evidence, clock estimates, alignment."""
