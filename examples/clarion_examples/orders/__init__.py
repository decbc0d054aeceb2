"""A shop whose page shows an order's state live: FastAPI, SQLAlchemy and the outbox."""
