"""The proxy and a predictor, each in this process, by FastAPI's TestClient."""

from pathlib import Path

from fastapi.testclient import TestClient

import common
from microservice_vertical import predictor, proxy
from microservice_vertical.settings import PredictorSettings, ProxySettings

PICTURE = {"pixels": [0, 0, 0, 13, 13, 0, 0, 0] * 8}
SPECIALIST = Path(common.__file__).parent / "models" / "specialist.onnx"


def test_without_its_required_stages_the_proxy_names_the_first_that_fails() -> None:
    url = "http://127.0.0.1:1/v2/models/quality"
    with TestClient(proxy.create_app(ProxySettings(quality_url=url))) as client:
        answer = client.post("/predict", json=PICTURE)
    assert (answer.status_code, answer.json()["backend"]) == (503, "quality")


def test_specialist_reads_the_digit() -> None:
    with TestClient(predictor.create_app(PredictorSettings(model_uri=str(SPECIALIST)))) as client:
        assert client.post("/predict", json=PICTURE).json()["digit"] == 1
