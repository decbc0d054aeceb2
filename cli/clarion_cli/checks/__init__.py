"""The subjects of `clarion check`: a configuration, its settings, Redis and the issuer's keys."""
