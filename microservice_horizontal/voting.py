"""What the votes become: pure functions from each member's probabilities to one verdict.

Majority is hard voting, mean soft voting (L. Kuncheva, "Combining Pattern Classifiers", 2nd ed., 2014, ch. 4 and 5).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from microservice_horizontal.settings import Aggregation

Votes = Mapping[str, NDArray[np.float32]]
"""By member, the probability of each class, shape (10,); at least one vote."""


class Verdict(NamedTuple):
    """The class, and what speaks for each: probabilities of shape (10,), float32, whose sum is 1."""

    digit: int
    probabilities: NDArray[np.float32]


def aggregate(votes: Votes, how: Aggregation, weights: Mapping[str, float]) -> Verdict | None:
    """The verdict; None where the votes are to stand as they are."""
    match how:
        case "majority":
            return majority(votes)
        case "mean":
            return mean(votes)
        case "weighted":
            return weighted(votes, weights)
        case "none":
            return None


def majority(votes: Votes) -> Verdict:
    """What most members say; of equally many, what they are surer of together. The shares of votes are the result."""
    table = np.stack(list(votes.values()))
    counts = np.bincount(table.argmax(axis=1), minlength=table.shape[1])
    digit = int(np.where(counts == counts.max(), table.sum(axis=0), -1.0).argmax())
    return Verdict(digit, (counts / len(table)).astype(np.float32))


def mean(votes: Votes) -> Verdict:
    """The mean of the probabilities."""
    return weighted(votes, {})


def weighted(votes: Votes, weights: Mapping[str, float]) -> Verdict:
    """The mean of the probabilities, in which each member has its weight, 1 by default; all zero, they count alike."""
    shares = np.array([weights.get(member, 1.0) for member in votes])
    probabilities = np.average(np.stack(list(votes.values())), axis=0, weights=shares if shares.any() else None)
    return Verdict(int(probabilities.argmax()), probabilities.astype(np.float32))


def agreed(votes: Votes, quorum: int) -> bool:
    """Whether at least `quorum` members say the same."""
    said = [int(probabilities.argmax()) for probabilities in votes.values()]
    return any(said.count(digit) >= quorum for digit in said)
