"""The vertical pattern as its callers see it: quality, reader, at low confidence the specialist (V1, V2, V5, V8)."""

import json
import random

import numpy as np
import pytest

from common.domain.digits import from_image
from common.domain.ink import InvalidImage
from common.training.damage import noise
from common.training.data import held_out
from tests.support.inputs.drawn_letters import letters as drawn_letters
from tests.support.samples import MLP, SEVEN_PIXELS, SEVEN_PNG, SMUDGE_PNG
from tests.support.service_process import Server
from tests.support.stack import Stack
from tests.support.vertical.letters import (
    MODELS,
    RUN,
    STAGES,
    agrees,
    illegible,
    letters,
    low_confidence,
    names,
    picture,
)
from tests.support.vertical.services import another_proxy, asks

SPAN = "00f067aa0ba902b7"


# Letters, and what the models themselves say of them


# Services, and who of them was asked


# Order


def test_clear_picture_is_read_by_the_reader_and_lists_its_stages(stack: Stack) -> None:
    with asks(stack, quality=1, reader=1):
        answer = stack.front.read(SEVEN_PNG).json()
    assert answer.keys() == {"digit", "confidence", "probabilities", "model", "legible", "degraded", "stages"}
    assert (answer["digit"], answer["legible"], answer["degraded"]) == (7, True, False)
    assert answer["confidence"] == answer["probabilities"][7]
    quality, reading = answer["stages"]
    assert (quality["name"], quality["legible"]) == ("quality", True)
    assert (reading["name"], reading["digit"], reading["confidence"]) == ("reader", 7, answer["confidence"])
    assert reading["model"] == answer["model"]
    for stage in (quality, reading):
        assert stage["model"] == {"name": MODELS[stage["name"]], "version": version(stage["name"])}
        assert 0 < stage["milliseconds"] < 2_000


def version(stage: str) -> str:
    """The version of its model, as its card says."""
    return str(json.loads(MLP.with_name(f"{MODELS[stage]}.json").read_text())["version"])


def test_illegible_picture_has_no_digit_and_no_further_stage(stack: Stack) -> None:
    with asks(stack, quality=1):
        answer = stack.front.read(SMUDGE_PNG)
    assert answer.status_code == 200
    illegible(answer.json())


def has_ink_of_a_digit(picture: bytes) -> bool:
    """Whether the domain takes it for one digit; an M has more strokes, and is a 422."""
    try:
        return from_image(picture, 2**22) is not None
    except InvalidImage:
        return False


def test_letters_stop_at_quality(stack: Stack) -> None:
    pictures = [picture for picture in drawn_letters(10, seed=1) if has_ink_of_a_digit(picture)]
    assert len(pictures) > 7
    with asks(stack, quality=len(pictures)):
        answers = [stack.front.read(picture) for picture in pictures]
    for answer in answers:
        illegible(answer.json())


def test_noise_stops_at_quality(stack: Stack) -> None:
    scans = noise(held_out().features[:60], np.random.default_rng(1))
    scans = scans[RUN["quality"](scans)[0] == 0]
    assert len(scans) > 50
    with asks(stack, quality=len(scans)):
        for scan in scans:
            illegible(stack.front.read(picture(scan)).json())


def test_reading_of_low_confidence_is_replaced_by_the_specialists(stack: Stack) -> None:
    """V2, V5: the next service is chosen by the answer of the one before."""
    scans = low_confidence().features[:, 0]
    with asks(stack, quality=len(scans), reader=len(scans), specialist=len(scans)):
        answers = [stack.front.read(picture(scan)).json() for scan in scans]
    for answer in answers:
        _, reading, last = answer["stages"]
        assert names(answer) == STAGES
        assert reading["confidence"] < 0.9
        assert all(answer[name] == last[name] for name in ("digit", "confidence", "model"))
    differ = sum(answer["stages"][1]["digit"] != answer["digit"] for answer in answers)
    assert differ > len(answers) // 4


@pytest.mark.full
@pytest.mark.parametrize(("escalate_below", "specialists"), [(0, 0), (1, 1)], ids=["never", "always"])
def test_a_setting_says_below_which_confidence_the_specialist_is_asked(
    stack: Stack, escalate_below: int, specialists: int
) -> None:
    scans = [SEVEN_PNG, *map(picture, low_confidence().features[:5, 0])]
    with another_proxy(stack, escalate_below=escalate_below) as proxy:
        answers = [proxy.read(scan).json() for scan in scans]
    assert [names(answer).count("specialist") for answer in answers] == [specialists] * len(scans)


def test_hundreds_of_scans_match_the_models_and_beat_the_reader_alone(stack: Stack) -> None:
    """Clean and damaged ones, from many connections: each caller gets the answer to its own."""
    clean, damaged = held_out(), letters()
    scans = np.concatenate([clean.features, damaged.features[:, 0]])[::2]
    labels = np.concatenate([clean.labels, damaged.labels])[::2]
    answers = [response.json() for response in stack.front.read_all([picture(scan) for scan in scans], 16)]
    for answer, scan in zip(answers, scans, strict=True):
        agrees(answer, scan[np.newaxis])
    right = np.array([answer["digit"] for answer in answers]) == labels
    alone = RUN["reader"](scans)[0] == labels
    legible = np.array([answer["legible"] for answer in answers])
    assert legible[:225].mean() >= 0.98
    for kind, part in {"clean": slice(225), "damaged": slice(225, None)}.items():
        print(f"{kind}: {right[part].mean():.3f} right, the reader alone {alone[part].mean():.3f}")
        assert right[part][legible[part]].mean() >= alone[part][legible[part]].mean()
    assert right.mean() > alone.mean() + 0.01


# One transaction


def test_server_timing_shows_each_stage(stack: Stack) -> None:
    for scan, stages in [(SMUDGE_PNG, 1), (SEVEN_PNG, 2), (picture(low_confidence().features[0, 0]), 3)]:
        response = stack.front.read(scan)
        entries = dict(entry.split(";dur=") for entry in response.headers["server-timing"].split(", "))
        shown = {stage["name"]: stage["milliseconds"] for stage in response.json()["stages"]}
        assert len(shown) == stages
        assert {name for name in entries if name in STAGES} == shown.keys()
        for name, milliseconds in shown.items():
            assert float(entries[name]) == milliseconds
            assert 0 < float(entries[f"{name}.predict"]) <= float(entries[f"{name}.total"]) < milliseconds
        assert sum(shown.values()) < float(entries["total"])


def test_one_trace_runs_through_the_logs_of_all_services(stack: Stack) -> None:
    """V1: each model is a service of its own, and one transaction can be followed through all."""
    trace = f"{random.getrandbits(128) | 1:032x}"
    scan = picture(low_confidence().features[0, 0])
    answer = stack.front.read(scan, traceparent=f"00-{trace}-{SPAN}-01")
    assert answer.headers["traceparent"].split("-")[1] == trace
    lines = [line for name in (stack.front_name, *STAGES) for line in stack.servers[name].logged(trace_id=trace)]
    assert [line["path"] for line in lines] == ["/predict", *(f"/v2/models/{m}/infer" for m in MODELS.values())]
    assert len({line["span_id"] for line in lines} | {SPAN}) == 5
    assert len({stack.servers[name].process.pid for name in (stack.front_name, *STAGES)}) == 4


# Common interfaces


def test_three_services_have_the_same_paths(stack: Stack) -> None:
    """V8: but for the model's name and version, one OpenAPI document describes all three."""
    documents = {interface(stack.servers[stage], stage) for stage in STAGES}
    assert len(documents) == 1
    paths = ["/health/live", "/health/ready", "/metrics", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/M"]
    for stage, model in MODELS.items():
        for path in paths:
            assert stack.servers[stage].get(path.replace("M", model)).status_code == 200
        assert f'"{paths[-1]}"' in interface(stack.servers[stage], stage)


def interface(server: Server, stage: str) -> str:
    """The service's OpenAPI document, its model called M and its version V."""
    document = server.get("/openapi.json").text
    model = MODELS[stage]
    for old, new in (
        (f"models/{model}", "models/M"),
        (f"models_{model}", "models_M"),
        (f"vertical-{MODELS[stage]}", "vertical-M"),
    ):
        document = document.replace(old, new)
    return document.replace(version(stage), "V")


def test_same_request_works_for_all_three_models(stack: Stack) -> None:
    """V8: the body names no model, and each answers in the same form."""
    question = {
        "inputs": [{"name": "features", "shape": [1, 64], "datatype": "FP32", "data": SEVEN_PIXELS}],
        "outputs": [{"name": "probabilities"}],
    }
    for stage, model in MODELS.items():
        answer = stack.servers[stage].client.post(f"/v2/models/{model}/infer", json=question).json()
        (output,) = answer["outputs"]
        row = np.array([SEVEN_PIXELS], dtype=np.float32)
        np.testing.assert_allclose(output["data"], RUN[stage](row)[1][0], atol=1e-5)
        assert (answer["model_name"], answer["model_version"]) == (model, version(stage))


def test_predict_of_quality_is_a_409(stack: Stack) -> None:
    refused = stack.servers["quality"].read(SEVEN_PNG)
    assert refused.status_code == 409
    assert "quality reads no digits" in refused.json()["detail"]
    assert stack.servers["reader"].read(SEVEN_PNG).json()["digit"] == 7
    assert stack.servers["specialist"].read(SEVEN_PNG).json()["digit"] == 7
