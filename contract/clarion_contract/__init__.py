"""What the gateway and the publisher must agree on: audiences, events, identity and the bus."""
