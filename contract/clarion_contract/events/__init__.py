"""Values that both services share: audiences, events, positions, errors. No I/O."""
