"""What gateway and publisher must agree on: audiences, events, identity and the bus."""
