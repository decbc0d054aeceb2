"""The steps that every event takes on its way to the bus, whichever source it comes from."""
