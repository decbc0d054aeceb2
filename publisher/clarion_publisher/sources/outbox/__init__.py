"""The PostgreSQL outbox: events that an application writes in its own transactions."""
