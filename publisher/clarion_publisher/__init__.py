"""The publisher: takes events from services over HTTP and hands them to the bus."""
