"""The publisher: takes events from its sources, HTTP above all, and hands them to the bus."""
