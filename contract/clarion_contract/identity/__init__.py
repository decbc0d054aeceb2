"""Who a token speaks for: JWTs, their signatures and their issuers' keys."""
