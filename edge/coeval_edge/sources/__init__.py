"""Where a node's samples and evidence come from: one file a kind of sensor or clock source."""
