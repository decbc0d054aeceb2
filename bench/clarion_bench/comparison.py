"""One figure of two versions, measured in turns, and whether it differs beyond the noise."""

from dataclasses import dataclass
from statistics import median

# Smaller changes than this count as none, however quiet the machine is.
_TOLERANCE = 0.03
# The noise is so many times the turns' median distance from the median of their side. With five
# turns on each side, two equal versions differ by more about once in a hundred figures.
_NOISE_FACTOR = 3.0


@dataclass(frozen=True)
class Comparison:
    """A figure of which less is better: one value per turn, for the old version and the new one."""

    figure: str
    old: list[float]
    new: list[float]

    @property
    def change(self) -> float:
        """The new median relative to the old one: 0.1 is 10 % slower."""
        return median(self.new) / median(self.old) - 1 if median(self.old) else 0.0

    @property
    def noise(self) -> float:
        """The change that chance alone may make, on the same scale."""
        centre = median(self.old)
        distances = [abs(value - median(side)) for side in (self.old, self.new) for value in side]
        return _NOISE_FACTOR * median(distances) / centre if centre else 0.0

    @property
    def slower(self) -> bool:
        """Whether the new version is slower beyond noise and tolerance."""
        return self.change > max(self.noise, _TOLERANCE)

    @property
    def faster(self) -> bool:
        """Whether the new version is faster beyond noise and tolerance."""
        return -self.change > max(self.noise, _TOLERANCE)

    @property
    def verdict(self) -> str:
        """`slower`, `faster` or `same`."""
        return "slower" if self.slower else "faster" if self.faster else "same"
