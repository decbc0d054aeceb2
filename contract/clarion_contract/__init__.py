"""The contract between gateway and publisher: audiences, events, identity and the bus."""
