"""One figure of topics: measured, beside what it is compared with, and the aim for it."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class TopicFigure:
    """A figure, with one value for each turn.

    Attributes:
        figure: its name and unit.
        values: of topics.
        beside: of what they are compared with, turn by turn; empty: of nothing.
        aim: the bound of the ratio, or of the value if it is compared with nothing.
        at_least: whether the aim is a lower bound.
        others_busy: the cores that other programs used meanwhile.
    """

    figure: str
    values: list[float]
    beside: list[float]
    aim: float
    at_least: bool = False
    others_busy: float = 0.0

    @property
    def ratio(self) -> float | None:
        """The median of the turns' ratios; a slow moment of the machine concerns both sides."""
        if not self.beside:
            return None
        pairs = zip(self.values, self.beside, strict=True)
        return median(value / beside for value, beside in pairs)

    @property
    def reached(self) -> bool:
        """Whether the aim is reached."""
        measured = median(self.values) if self.ratio is None else self.ratio
        return measured >= self.aim if self.at_least else measured <= self.aim
