"""Aggregation: pure functions from the members' probabilities to one digit.

Majority is hard voting, mean soft voting (L. Kuncheva, "Combining Pattern Classifiers", 2nd ed., 2014, ch. 4 and 5).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from microservice_horizontal.settings import Aggregation

Votes = Mapping[str, NDArray[np.float32]]
"""By member, the probability of each class, shape (10,); at least one vote."""


class Aggregate(NamedTuple):
    """What the votes become: the class, and probabilities of shape (10,), float32, whose sum is 1."""

    digit: int
    probabilities: NDArray[np.float32]


def aggregate(votes: Votes, aggregation: Aggregation, weights: Mapping[str, float]) -> Aggregate | None:
    """The aggregate of the votes; None for the aggregation `none`."""
    match aggregation:
        case "majority":
            return majority(votes)
        case "mean":
            return mean(votes)
        case "weighted":
            return weighted_mean(votes, weights)
        case "none":
            return None


def majority(votes: Votes) -> Aggregate:
    """The class with the most votes; of classes with equally many, the one with the largest sum of probabilities.

    The resulting probabilities are the shares of votes.
    """
    table = np.array([*votes.values()])
    counts = np.bincount(table.argmax(axis=1), minlength=table.shape[1])
    digit = int(np.where(counts == counts.max(), table.sum(axis=0), -1.0).argmax())
    return Aggregate(digit, (counts / len(table)).astype(np.float32))


def mean(votes: Votes) -> Aggregate:
    """The mean of the probabilities."""
    return weighted_mean(votes, {})


def weighted_mean(votes: Votes, weights: Mapping[str, float]) -> Aggregate:
    """The mean of the probabilities with a weight for each member, 1 by default; the plain mean if all are 0."""
    shares = np.array([weights.get(member, 1.0) for member in votes])
    shares = shares / shares.max() if shares.any() else np.ones_like(shares)  # tiny ones would round products to 0
    probabilities = shares @ np.array([*votes.values()]) / shares.sum()  # `np.average` takes three times as long
    return Aggregate(int(probabilities.argmax()), probabilities.astype(np.float32))


def has_quorum(votes: Votes, quorum: int) -> bool:
    """Whether at least `quorum` members vote for the same class."""
    classes = [int(probabilities.argmax()) for probabilities in votes.values()]
    return any(classes.count(digit) >= quorum for digit in classes)
