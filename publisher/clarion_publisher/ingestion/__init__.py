"""What every event passes on its way to the bus, whichever source it comes from."""
