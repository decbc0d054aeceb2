"""What `clarion check` looks at: a configuration, its settings, Redis and the issuer's keys."""
