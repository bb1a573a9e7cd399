"""What an aggregator keeps: every block, evidence, clock history, ticks and events, durably."""
