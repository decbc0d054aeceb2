"""The user or service that a token speaks for: JWTs, their signatures, their issuers' keys."""
