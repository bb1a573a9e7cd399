"""`coeval demo`: the whole system on one machine, replaying a recording that ships with it."""
