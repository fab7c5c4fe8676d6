"""Aggregation: properties of the pure functions, for generated votes (H2)."""

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from common.training.damage import degrade
from common.training.data import SEED, held_out
from common.training.measure import DAMAGED_COPIES, runner
from microservice_horizontal.settings import Aggregation, VoteSettings
from microservice_horizontal.voting import Aggregate, Votes, aggregate, has_quorum, majority, mean, weighted_mean
from tests.support.samples import MLP
from tests.support.stack import MEMBERS

Table = dict[str, NDArray[np.float32]]
HOWS: tuple[Aggregation, ...] = ("majority", "mean", "weighted")
NAMES = ("linear", "svm", "mlp", "another", "one more")
WEIGHTS = st.fixed_dictionaries({}, optional={name: st.floats(0.01, 10) for name in NAMES})
hows = pytest.mark.parametrize("how", HOWS)


pure = settings(max_examples=60)
"""Fewer examples than usual, and no deadline: the machine may be busy."""


def votes(least: int = 1, most: int = 5) -> st.SearchStrategy[Table]:
    """By member, the probabilities of ten classes. Some have few different values, so there are ties."""
    names = st.lists(st.sampled_from(NAMES), min_size=least, max_size=most, unique=True)
    return st.builds(table_of, names, st.binary(min_size=10 * most, max_size=10 * most), st.sampled_from([4, 256]))


def table_of(names: list[str], drawn: bytes, values: int) -> Table:
    """A row of ten bytes for each name, with at most `values` different ones, as probabilities."""
    shares = np.frombuffer(drawn, np.uint8).reshape(-1, 10)[: len(names)] % np.uint16(values)
    shares[shares.sum(axis=1) == 0, 0] = 1
    return dict(zip(names, (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32), strict=True))


def aggregated(table: Votes, how: Aggregation, weights: dict[str, float] | None = None) -> Aggregate:
    """The aggregate of these votes; not for `none`."""
    found = aggregate(table, how, weights or {})
    assert found is not None
    return found


def assert_same(one: Aggregate, other: Aggregate) -> None:
    """Assert the same probabilities, and the same digit unless two are almost equal."""
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)
    if one.digit != other.digit:
        assert one.probabilities[one.digit] == pytest.approx(one.probabilities[other.digit], abs=1e-6)


@hows
@pure
@given(table=votes(), weights=WEIGHTS)
def test_aggregate_gives_probabilities_and_the_most_likely_digit(how: Aggregation, table: Table, weights: Any) -> None:
    digit, found = aggregated(table, how, weights)
    assert found.shape == (10,)
    assert found.dtype == np.dtype(np.float32)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert found[digit] == found.max()


@hows
@pure
@given(table=votes(), weights=WEIGHTS, seed=st.integers(0, 1_000))
def test_order_of_members_changes_nothing(how: Aggregation, table: Table, weights: Any, seed: int) -> None:
    names = random.Random(seed).sample(list(table), len(table))
    assert_same(aggregated(table, how, weights), aggregated({name: table[name] for name in names}, how, weights))


@hows
@pure
@given(table=votes(), digit=st.integers(0, 9), weights=WEIGHTS)
def test_unanimous_vote_wins(how: Aggregation, table: Table, digit: int, weights: Any) -> None:
    for vote in table.values():
        best = int(vote.argmax())
        vote[[best, digit]] = vote[[digit, best]]
        vote[digit] += 0.01
    found = aggregated(table, how, weights)
    assert found.digit == digit
    if how == "majority":
        assert found.probabilities[digit] == 1


@pure
@given(table=votes(most=1))
def test_mean_of_one_vote_is_that_vote(table: Table) -> None:
    (vote,) = table.values()
    np.testing.assert_allclose(mean(table).probabilities, vote, atol=1e-7)
    assert mean(table).digit == majority(table).digit == vote.argmax()


@pure
@given(table=votes(), weight=st.floats(0, 10))
def test_equal_weights_or_no_weights_or_zero_weights_give_the_mean(table: Table, weight: float) -> None:
    for weights in (dict.fromkeys(table, weight), {}, dict.fromkeys(table, 0.0)):
        assert_same(weighted_mean(table, weights), mean(table))


@pure
@given(table=votes(least=2), weights=WEIGHTS)
def test_member_of_weight_zero_does_not_count(table: Table, weights: dict[str, float]) -> None:
    name, *others = table
    assert_same(
        weighted_mean(table, weights | {name: 0}), weighted_mean({other: table[other] for other in others}, weights)
    )


@pure
@given(table=votes(), scale=st.floats(0.1, 100), weights=WEIGHTS)
def test_only_the_ratios_of_weights_count(table: Table, scale: float, weights: dict[str, float]) -> None:
    every = {name: weights.get(name, 1.0) for name in table}
    assert_same(
        weighted_mean(table, every), weighted_mean(table, {name: weight * scale for name, weight in every.items()})
    )


@pure
@given(table=votes(most=4))
def test_one_more_vote_for_the_winner_keeps_it(table: Table) -> None:
    digit, before = majority(table)
    found = majority(table | {"newcomer": np.eye(10, dtype=np.float32)[digit]})
    assert found.digit == digit
    assert found.probabilities[digit] >= before[digit]


@pure
@given(table=votes())
def test_majority_decides_a_tie_by_the_sum_of_probabilities(table: Table) -> None:
    digit, shares = majority(table)
    said = [int(vote.argmax()) for vote in table.values()]
    np.testing.assert_allclose(shares, [said.count(other) / len(said) for other in range(10)], atol=1e-6)
    tied = [other for other in set(said) if said.count(other) == max(map(said.count, said))]
    sums = {other: float(sum(vote[other] for vote in table.values())) for other in tied}
    assert digit in tied
    assert sums[digit] == pytest.approx(max(sums.values()), abs=1e-6)


def test_majority_of_two_different_votes_is_the_more_confident_one() -> None:
    sure, unsure = np.full((2, 10), 0.01, np.float32)
    sure[7], unsure[1], unsure[7] = 0.91, 0.5, 0.42
    digit, shares = majority({"linear": unsure, "svm": sure})
    assert (digit, shares[7], shares[1]) == (7, 0.5, 0.5)


@pure
@given(table=votes())
def test_aggregation_none_gives_no_digit(table: Table) -> None:
    assert aggregate(table, "none", {}) is None


@pure
@given(table=votes(), quorum=st.integers(1, 5))
def test_quorum_counts_votes_for_the_same_class(table: Table, quorum: int) -> None:
    said = [int(vote.argmax()) for vote in table.values()]
    assert has_quorum(table, quorum) == (max(map(said.count, said)) >= quorum)


# The models themselves


def test_default_weights_are_the_accuracies_of_the_model_cards() -> None:
    cards = {name: json.loads(MLP.with_name(f"{name}.json").read_text()) for name in MEMBERS}
    assert VoteSettings().weights == {name: card["figures"]["held_out_scans"] for name, card in cards.items()}


@pytest.mark.full
def test_votes_on_damaged_scans_beat_linear_and_mlp_but_not_svm() -> None:
    """The accuracy of a vote depends on its members: of these three, svm alone is more accurate."""
    rng, scans = np.random.default_rng(SEED + 2), held_out()
    features = np.concatenate([degrade(scans.features, rng) for _ in range(DAMAGED_COPIES)])
    labels = np.tile(scans.labels, DAMAGED_COPIES)
    said = {name: runner(MLP.with_name(f"{name}.onnx").read_bytes())(features)[1] for name in MEMBERS}
    right = {name: float((table.argmax(axis=1) == labels).mean()) for name, table in said.items()}
    weights = VoteSettings().weights
    for how in HOWS:
        read = [
            aggregated({name: said[name][row] for name in MEMBERS}, how, weights).digit for row in range(len(labels))
        ]
        right[how] = float((np.array(read) == labels).mean())
    print({name: round(share, 4) for name, share in right.items()})
    for how in HOWS:
        assert max(right["linear"], right["mlp"]) + 0.02 < right[how] < right["svm"]
