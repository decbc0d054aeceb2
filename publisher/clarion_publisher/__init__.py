"""The publisher: takes events from its sources (mainly HTTP) and passes them to the bus."""
