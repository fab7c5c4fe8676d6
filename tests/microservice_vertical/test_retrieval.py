"""Letters that are kept: who gets their scans from the store, how often, and what the specialist makes of all (V3, V4).

RETRIEVAL says who. Two proxies stand in front of the same services and the same store, one for each setting.
"""

from itertools import islice, repeat
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from common.training.damage import noise
from common.training.data import Features, held_out
from tests.support.processes import wait_until
from tests.support.samples import SEVEN_PNG, SMUDGE_PNG
from tests.support.service_process import Server
from tests.support.stack import Stack, vertical_stack
from tests.support.vertical.letters import RUN, STAGES, agrees, expected, letters, low_confidence, names, picture
from tests.support.vertical.services import another_proxy, asks, keep, kept

BLANK = {"pixels": [0] * 64}
SCANS = 3
CONNECTING = ("HELLO", "CLIENT")


def letter(scans: Features) -> list[dict[str, list[float]]]:
    """Scans of shape (n, 64) as they are sent."""
    return [picture(scan) for scan in scans]


def one_of_each() -> dict[int, Features]:
    """A letter of several scans by the number of stages that it takes; noise takes one."""
    illegible = noise(held_out().features[:SCANS], np.random.default_rng(1))
    return {len(expected(scans)[0]): scans for scans in (*letters(SCANS).features, illegible)}


# What is taken and what is not


def test_picture_or_several_scans_are_stored_under_an_id(proxy: Server) -> None:
    scans = letters(16).features[0]
    bodies: list[Any] = [SEVEN_PNG, picture(scans[0]), letter(scans[:1]), letter(scans), SMUDGE_PNG]
    ids = [kept(proxy, body) for body in bodies]
    assert len({answer["image_id"] for answer in ids}) == len(bodies)
    assert proxy.read(ids[0]).json()["digit"] == 7
    assert proxy.read(ids[-1]).json()["legible"] is False
    for answer in (proxy.read(image_id).json() for image_id in ids[1:3]):
        agrees(answer, scans[:1])
    agrees(proxy.read(ids[3]).json(), scans)


def test_unknown_id_is_a_404_that_says_how_to_get_one(proxy: Server) -> None:
    answer = proxy.read({"image_id": str(uuid4())})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "POST /images gives an id" in answer.json()["detail"]


@pytest.mark.parametrize("image_id", ["", "7", "not-an-id", 7, None, [], {}, True, "0" * 33], ids=repr)
def test_invalid_id_is_a_422(proxy: Server, image_id: object) -> None:
    answer = proxy.read({"image_id": image_id})
    assert answer.status_code == 422
    assert "image_id" in answer.json()["detail"]


def test_predict_takes_one_picture_or_one_id_and_nothing_else(proxy: Server) -> None:
    image_id = kept(proxy, SEVEN_PNG)
    seven = picture(letters().features[0, 0])
    for body in (
        image_id | seven,
        image_id | {"more": 1},
        seven | {"more": 1},
        [seven],
        [seven, seven],
        [image_id],
        [],
    ):
        assert proxy.read(body).status_code == 422, body
    assert proxy.read(image_id).status_code == proxy.read(seven).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ([], 422),
        ([BLANK], 422),
        ([{"pixels": [1] * 64}, BLANK], 422),
        ([{"pixels": [1] * 64}, {"pixels": [1] * 63}], 422),
        ({"image_id": str(uuid4())}, 422),
        ([{"pixels": [1] * 64}] * 17, 413),
        (b"no picture", 415),
    ],
    ids=["nothing", "blank", "one_blank", "one_short", "an_id", "too_many", "no_picture"],
)
def test_invalid_letter_is_rejected_and_not_stored(stack: Stack, body: object, status: int) -> None:
    before = stack.store().dbsize()
    assert keep(stack.front, body).status_code == status
    assert stack.store().dbsize() == before


@pytest.mark.full
def test_letter_expires_after_the_time_of_the_setting(stack: Stack, proxies: dict[str, Server]) -> None:
    with another_proxy(stack, image_ttl_seconds=1) as forgetful:
        image_id = kept(forgetful, SEVEN_PNG)
        assert forgetful.read(image_id).json()["digit"] == 7
        wait_until(lambda: forgetful.read(image_id).status_code == 404, 10)
    assert [proxy.read(image_id).status_code for proxy in proxies.values()] == [404, 404]


def test_error_stays_short_for_a_long_input(proxy: Server) -> None:
    image_id = kept(proxy, SEVEN_PNG)
    for wrong in ({"image_id": "7" * 100_000}, image_id | {"m" * 100_000: 1}, image_id | {"more": "m" * 100_000}):
        answer = proxy.read(wrong)
        assert answer.status_code == 422
        assert len(answer.text) < 1_000


# Which service loads the scans, how often, and which


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_store_is_read_once_by_the_proxy_or_once_by_each_stage(
    stack: Stack, proxies: dict[str, Server], stages: int
) -> None:
    """V4: counted by the store itself."""
    image_id = kept(stack.front, letter(one_of_each()[stages]))
    for retrieval, wanted in {"proxy": 1, "predictor": stages}.items():
        before = retrievals(stack)
        response = proxies[retrieval].read(image_id)
        assert len(response.json()["stages"]) == stages
        assert retrievals(stack) - before == wanted
        shown = {entry.split(";")[0] for entry in response.headers["server-timing"].split(", ")}
        by = {"store"} if retrieval == "proxy" else {f"{stage}.store" for stage in STAGES[:stages]}
        assert {name for name in shown if name.endswith("store")} == by


def retrievals(stack: Stack) -> int:
    """How often any command has looked a key up to read it."""
    stats: dict[str, int] = stack.store().info("stats")
    return stats["keyspace_hits"] + stats["keyspace_misses"]


def test_reader_reads_one_scan_and_the_specialist_reads_all(stack: Stack, proxy: Server) -> None:
    """V4: each model has a data structure of its own."""
    image_id = kept(proxy, letter(one_of_each()[3]))
    with asks(stack, "batch_rows_sum", quality=1, reader=1, specialist=SCANS):
        assert names(proxy.read(image_id).json()) == STAGES


def test_reader_that_is_set_to_all_scans_gets_them_from_the_proxy_and_from_the_store() -> None:
    """READER_SCANS is one setting, of the proxy and of the reader."""
    every: dict[str, object] = {"reader_scans": "all"}
    with (
        vertical_stack({"reader": every}, escalate_below=0, **every) as stack,
        another_proxy(stack, retrieval="predictor", escalate_below=0, **every) as other,
    ):
        image_id = kept(stack.front, letter(one_of_each()[3]))
        for proxy in (stack.front, other):
            with asks(stack, "batch_rows_sum", quality=1, reader=SCANS):
                assert names(proxy.read(image_id).json()) == STAGES[:2]


def test_predictor_loads_only_the_scans_that_its_model_reads(stack: Stack, proxies: dict[str, Server]) -> None:
    image_id = kept(stack.front, letter(one_of_each()[3]))
    with stack.store().monitor() as monitor:  # type: ignore[no-untyped-call]
        proxies["predictor"].read(image_id)
        seen = (monitor.next_command()["command"].split() for _ in repeat(None))
        commands = list(islice((command for command in seen if command[0] not in CONNECTING), len(STAGES)))
    assert [command[0] for command in commands] == ["GETRANGE"] * 3
    assert [command[2:] for command in commands] == [["0", "255"], ["0", "255"], ["0", "-1"]]


def test_letter_is_read_the_same_with_either_retrieval(proxies: dict[str, Server]) -> None:
    """And as the models say that are asked directly; an id that one proxy gave is good at the other."""
    some = [*letters(SCANS).features[:30], *low_confidence(SCANS).features[:10]]
    for scans in some:
        image_id = kept(proxies["proxy"], letter(scans))
        by_proxy, by_predictor = (proxies[retrieval].read(image_id).json() for retrieval in ("proxy", "predictor"))
        agrees(by_proxy, scans)
        agrees(by_predictor, scans)
        assert by_proxy["probabilities"] == pytest.approx(by_predictor["probabilities"], abs=2e-6)


@pytest.mark.full
@pytest.mark.parametrize("retrieval", ["predictor", "proxy"])
def test_specialist_is_more_accurate_with_all_scans_than_with_one(proxies: dict[str, Server], retrieval: str) -> None:
    """V4, V5: what the further scans are kept for."""
    proxy = proxies[retrieval]
    some = [low_confidence(SCANS, seed) for seed in (1, 2, 3)]
    scans, labels = (np.concatenate(parts) for parts in zip(*some, strict=True))
    assert len(scans) > 150
    with_one, with_all = share_right(proxy, scans[:, :1], labels), share_right(proxy, scans, labels)
    reader = (RUN["reader"](scans[:, 0])[0] == labels).mean()
    print(f"{len(scans)} unsure letters: reader {reader:.3f}, one scan {with_one:.3f}, {SCANS} scans {with_all:.3f}")
    assert with_all > with_one + 0.03
    assert with_one > reader + 0.2


def share_right(proxy: Server, scans: Features, labels: np.ndarray[Any, np.dtype[np.int64]]) -> float:
    """The share of letters, of shape (n, scans, 64), that are read as they were written."""
    answers = [response.json() for response in proxy.read_all([kept(proxy, letter(one)) for one in scans], 8)]
    assert all(names(answer) == STAGES for answer in answers)
    return float(np.mean([answer["digit"] == label for answer, label in zip(answers, labels, strict=True)]))
