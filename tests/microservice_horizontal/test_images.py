"""Pictures that are kept and read by their id: who asks the store for them, how often, and what is not there (H4)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from tests.support.horizontal.deployment import (
    LinkedDeployment,
    ask,
    kept,
    picture,
    unanimous,
)
from tests.support.processes import wait_until
from tests.support.samples import SEVEN_JSON
from tests.support.service_process import Server
from tests.support.stack import MEMBERS, Stack

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def deployment(with_slow_svm: LinkedDeployment) -> LinkedDeployment:
    return with_slow_svm


@pytest.fixture(scope="module")
def proxies(deployment: LinkedDeployment) -> Iterator[dict[str, Server]]:
    """By their RETRIEVAL."""
    with deployment.another_proxy(retrieval="predictor") as other:
        yield {"proxy": deployment.front, "predictor": other}


def retrievals(deployment: Stack) -> int:
    """How often any command has looked an image up to read it."""
    with deployment.store() as store:
        calls = store.info("commandstats").get("cmdstat_getrange", {"calls": 0})["calls"]
    return int(calls)


def test_store_is_read_once_by_the_proxy_or_once_by_each_member(
    deployment: LinkedDeployment, proxies: dict[str, Server]
) -> None:
    """H4: counted by the store itself; the answers are the same."""
    scans, labels = unanimous()
    for scan, label in zip(scans[:20], labels[:20], strict=True):
        image_id, answers = kept(deployment.front, picture(scan)), []
        for retrieval, wanted in {"proxy": 1, "predictor": 3}.items():
            before = retrievals(deployment.stack)
            answers.append(ask(proxies[retrieval], image_id))
            assert retrievals(deployment.stack) - before == wanted
        by_proxy, by_predictor = (answer.json() for answer in answers)
        assert by_proxy["digit"] == by_predictor["digit"] == label
        assert by_proxy["missing"] == by_predictor["missing"] == []
        for name in MEMBERS:
            votes = [answer["predictions"][name]["probabilities"] for answer in (by_proxy, by_predictor)]
            assert votes[0] == pytest.approx(votes[1], abs=2e-6)
            alone = [ask(proxy, image_id, path=f"/predict/{name}").json() for proxy in proxies.values()]
            assert alone[0]["digit"] == alone[1]["digit"]


@pytest.mark.parametrize("kind", ["down", "hung"])
def test_members_that_load_pictures_are_missing_while_the_store_does_not_answer(
    deployment: LinkedDeployment, proxies: dict[str, Server], kind: str
) -> None:
    """The members are well, so a picture that is sent along is read as before."""
    image_id = kept(deployment.front, SEVEN_JSON)
    with store_away(deployment, kind):
        for _ in range(6):  # more than open a breaker
            by_proxy, by_members = (ask(proxies[who], image_id, 500) for who in ("proxy", "predictor"))
            assert (by_proxy.status_code, by_proxy.json()["detail"][:9]) == (503, "the store")
            assert by_members.status_code == 503
            for name in MEMBERS:
                assert re.search(rf"{name}: (refused|timeout)", by_members.json()["detail"])
        assert ask(proxies["predictor"], image_id, 500, path="/predict/mlp").status_code in (503, 504)
        assert ask(proxies["predictor"]).json()["missing"] == []
    wait_until(lambda: ask(proxies["predictor"], image_id).status_code == 200)


@contextmanager
def store_away(deployment: LinkedDeployment, kind: str) -> Iterator[None]:
    """No process listens there, or it never answers."""
    if kind == "hung":
        with deployment.hung("redis"):
            yield
        return
    deployment.kill("redis")
    yield
    deployment.stack.start("redis")


def test_unknown_id_is_a_404_with_either_retrieval(proxies: dict[str, Server]) -> None:
    """Hundreds of times, since members may report it at the same moment; and no failure is lost."""
    for proxy in proxies.values():
        for path in ("/predict", "/predict/mlp"):
            for _ in range(100):
                answer = ask(proxy, {"image_id": str(uuid4())}, path=path)
                assert answer.status_code == 404
                assert "POST /images gives an id" in answer.json()["detail"]
        assert [line for line in proxy.log_lines() if line["level"] == "ERROR"] == []
        assert ask(proxy).json()["missing"] == []  # which was no failure of theirs
