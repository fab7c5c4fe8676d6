"""The proxy and a member, each in this process, by FastAPI's TestClient; none of the other services runs."""

from pathlib import Path

from fastapi.testclient import TestClient
from pydantic import SecretStr

import common
from microservice_horizontal import predictor, proxy
from microservice_horizontal.settings import PredictorSettings, ProxySettings

NOT_RUNNING = SecretStr("redis://127.0.0.1:1/0")
MEMBERS = [f"http://127.0.0.1:1/v2/models/{name}" for name in ("linear", "svm", "mlp")]
PICTURE = {"pixels": [0, 0, 0, 13, 13, 0, 0, 0] * 8}
SVM = Path(common.__file__).parent / "models" / "svm.onnx"


def test_without_a_quorum_there_is_no_digit() -> None:
    with TestClient(proxy.create_app(ProxySettings(members=MEMBERS, redis_url=NOT_RUNNING))) as client:
        answer = client.post("/predict", json=PICTURE)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert client.post("/predict", params={"quorum": 4}, json=PICTURE).status_code == 422


def test_member_votes_alone() -> None:
    with TestClient(predictor.create_app(PredictorSettings(model_uri=str(SVM), redis_url=NOT_RUNNING))) as client:
        assert client.post("/predict", json=PICTURE).json()["digit"] == 1
