"""CPU time during a measurement, by user."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Busy:
    """CPU time during a measurement, in cores, by user.

    If the server's is well below 1, the load client was the limit, and only the CPU figures count.
    """

    server: float
    client: float
    others: float
