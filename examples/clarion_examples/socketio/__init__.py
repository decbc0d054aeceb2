"""A gateway of NestJS with a Redis propagator, written for Clarion."""
