"""What pruning saves on the clock, measured side by side."""
