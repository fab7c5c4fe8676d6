"""The proxy and its predictor, each in this process, by FastAPI's TestClient."""

from fastapi.testclient import TestClient

from synchronous import predictor, proxy
from synchronous.settings import PredictorSettings, ProxySettings

NOT_RUNNING = "http://127.0.0.1:1/v2/models/mlp"
LETTER = {"pixels": [0, 0, 0, 13, 13, 0, 0, 0] * 8}


def test_letter_without_a_predictor_goes_to_the_bin_manual() -> None:
    with TestClient(proxy.create_app(ProxySettings(predictor_url=NOT_RUNNING))) as client:
        letter = client.post("/letters", json=LETTER).json()
    assert (letter["bin"], letter["degraded"], letter["prediction"]) == ("manual", True, None)


def test_without_the_fallback_the_letter_is_a_problem_that_names_the_predictor() -> None:
    with TestClient(proxy.create_app(ProxySettings(predictor_url=NOT_RUNNING, fallback=False))) as client:
        answer = client.post("/letters", json=LETTER)
    assert (answer.status_code, answer.json()["backend"]) == (503, "predictor")


def test_predictor_reads_the_digit() -> None:
    with TestClient(predictor.create_app(PredictorSettings(grpc_port=0))) as client:
        assert client.post("/predict", json=LETTER).json()["digit"] == 1
