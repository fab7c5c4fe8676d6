"""What a problem document looks like to the client that gets it."""

import httpx

PROBLEM_JSON = "application/problem+json"


def is_problem(response: httpx.Response, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM_JSON
    problem = response.json()
    assert problem["status"] == status
    assert {"type", "title", "detail"} <= problem.keys()
    assert all(word in problem["detail"] for word in words), problem["detail"]
