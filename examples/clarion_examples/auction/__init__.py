"""An auction: a topic for each lot, bids in a database, and who else watches."""
