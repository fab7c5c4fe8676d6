"""The server in this process, by FastAPI's TestClient: quick, and to be copied along with the folder."""

from fastapi.testclient import TestClient

from web_single.predictor import create_app
from web_single.settings import Settings

SEVEN = [0, 0, 7, 8, 13, 16, 15, 1, 0, 0, 7, 7, 4, 11, 12, 0, 0, 0, 0, 0, 8, 13, 1, 0, 0, 4, 8, 8, 15, 15, 6, 0]
SEVEN += [0, 2, 11, 15, 15, 4, 0, 0, 0, 0, 0, 16, 5, 0, 0, 0, 0, 0, 9, 15, 1, 0, 0, 0, 0, 0, 13, 5, 0, 0, 0, 0]


def test_picture_gives_its_digit_and_blank_paper_a_problem() -> None:
    with TestClient(create_app(Settings(grpc_port=0))) as client:
        assert client.get("/health/ready").status_code == 200
        assert client.post("/predict", json={"pixels": SEVEN}).json()["digit"] == 7
        assert [one["digit"] for one in client.post("/predict", json=[{"pixels": SEVEN}] * 2).json()] == [7, 7]
        assert client.post("/predict", json={"pixels": [0] * 64}).status_code == 422
