"""`ModelStreamInfer` on a real server: order, errors, batches, bounds, deadlines, cancellation, shutdown."""

from collections.abc import Iterator
from queue import SimpleQueue
from threading import Event
from typing import Any

import grpc
import numpy as np
import pytest

from common.open_inference.generated import open_inference_pb2 as pb
from common.open_inference.grpc.service import STREAM_INFER
from tests.support.models.onnx_models import slow_pixels, slow_reader
from tests.support.open_inference.grpc_client import GrpcClient, grpc_client, message, outputs_of, refused
from tests.support.open_inference.tensors import SEVEN_TENSOR
from tests.support.processes import wait_until

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def client() -> Iterator[GrpcClient]:
    with grpc_client(max_body_bytes=100_000, max_queue_rows=30, max_batch_rows=8) as client:
        yield client


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcClient]:
    """A model that takes as long as a request asks for."""
    uri = slow_reader(tmp_path_factory.mktemp("models") / "slow.onnx")
    with grpc_client(model_uri=uri, batching="on", max_concurrent_requests=40) as client:
        yield client


def seven(number: int, rows: int = 1, seconds: float = 0, model: str = "mlp") -> pb.ModelInferRequest:
    features = np.repeat(SEVEN_TENSOR["features"], rows, 0)
    if seconds:
        features = np.array([slow_pixels(seconds)["pixels"]], np.float32)
    return message({"features": features}, model=model, id=str(number))


def labels(answer: pb.ModelStreamInferResponse) -> list[int]:
    assert not answer.error_message
    return [int(label) for label in outputs_of(answer.infer_response)["label"]]


class Sender:
    """The requests of a stream, sent one by one; the stream ends with None."""

    def __init__(self, client: GrpcClient, **call: Any) -> None:
        self.queue: SimpleQueue[pb.ModelInferRequest | None] = SimpleQueue()
        self.answers = client.stub.ModelStreamInfer(iter(self.queue.get, None), **call)

    def send(self, *requests: pb.ModelInferRequest | None) -> None:
        for request in requests:
            self.queue.put(request)


def test_answers_come_in_the_order_of_the_requests_with_their_ids(client: GrpcClient) -> None:
    """Of different sizes, so that those of one batch would overtake those that are split."""
    rows = [1 + number * 7 % 20 for number in range(100)]
    answers = list(client.stub.ModelStreamInfer(iter(map(seven, range(100), rows)), timeout=20))
    assert [answer.infer_response.id for answer in answers] == [str(number) for number in range(100)]
    assert [labels(answer) for answer in answers] == [[7] * count for count in rows]
    assert all(answer.infer_response.parameters["triton_final_response"].bool_param for answer in answers)


def test_a_stream_is_a_dialogue_too(client: GrpcClient) -> None:
    stream = Sender(client, timeout=20)
    for number in range(3):
        stream.send(seven(number))
        assert next(stream.answers).infer_response.id == str(number)
    stream.send(None)
    assert list(stream.answers) == []
    assert list(client.stub.ModelStreamInfer(iter([]), timeout=20)) == []


def test_an_error_is_the_sentence_of_the_unary_call_and_the_stream_goes_on(client: GrpcClient) -> None:
    """Each wrong request between two right ones."""
    wrong = [
        message({}, id="no input"),
        message(SEVEN_TENSOR, model="nope", id="no model"),
        message({"features": SEVEN_TENSOR["features"][:, :63]}, id="shape"),
        message({"features": SEVEN_TENSOR["features"][:0]}, id="no rows"),
        seven(31, rows=31),
        message({"features": np.zeros((400, 64), np.float32)}, id="long"),
    ]
    requests = [each for one in wrong for each in (one, seven(1))]
    answers = list(client.stub.ModelStreamInfer(iter(requests), timeout=20))
    assert [labels(answer) for answer in answers[1::2]] == [[7]] * len(wrong)
    for request, answer in zip(wrong, answers[::2], strict=True):
        with pytest.raises(grpc.RpcError) as caught:
            client.stub.ModelInfer(request)
        error: Any = caught.value
        assert answer.error_message == error.details()
        assert answer.infer_response.id == ("" if request.id == "long" else request.id)  # which was not parsed


def test_bytes_that_are_no_message_are_one_request_that_failed(client: GrpcClient) -> None:
    call: Any = client.channel.stream_stream(STREAM_INFER, None, pb.ModelStreamInferResponse.FromString)
    good = seven(1).SerializeToString()
    first, second, third = call(iter([good, b"\xff\xff\xff", good]), timeout=20)
    assert labels(first) == labels(third) == [7]
    assert "ModelInferRequest" in second.error_message


def test_a_long_stream_neither_fills_the_queue_nor_fails(client: GrpcClient) -> None:
    """At most 30 rows may wait, and 2,000 are sent at once: what is not read ahead waits at the client."""
    answers = list(client.stub.ModelStreamInfer(iter([seven(number, rows=20) for number in range(100)]), timeout=20))
    assert [labels(answer) for answer in answers] == [[7] * 20] * 100


def test_every_request_is_in_log_metrics_and_statistics(client: GrpcClient) -> None:
    def counted(status: str) -> float:
        return client.server.metric("http_requests_total", path=STREAM_INFER, status=status)

    def succeeded() -> int:
        answer = client.stub.ModelStatistics(pb.ModelStatisticsRequest(name="mlp"))
        return int(answer.model_stats[0].inference_stats.success.count)

    before = counted("200"), counted("400"), succeeded()
    trace = "0af7651916cd43dd8448eb211c80319c"
    metadata = (("traceparent", f"00-{trace}-b7ad6b7169203331-01"),)
    list(client.stub.ModelStreamInfer(iter([seven(1), message({}), seven(2)]), metadata=metadata, timeout=20))
    assert (counted("200"), counted("400"), succeeded()) == (before[0] + 2, before[1] + 1, before[2] + 2)
    lines = client.server.logged(path=STREAM_INFER, trace_id=trace)
    assert sorted(line["status"] for line in lines) == [200, 200, 400]  # in the order in which they were done
    assert len({line["span_id"] for line in lines}) == 3


def test_requests_of_one_stream_share_batches(slow: GrpcClient) -> None:
    """While the first one runs, the others are read."""
    before = slow.server.metric("batch_rows_count")
    requests = [seven(0, seconds=0.3, model="slow"), *(seven(number, model="slow") for number in range(1, 31))]
    assert [labels(answer) for answer in slow.stub.ModelStreamInfer(iter(requests), timeout=20)] == [[7]] * 31
    assert slow.server.metric("batch_rows_count") - before <= 4


def test_requests_of_streams_count_as_requests_in_progress(slow: GrpcClient) -> None:
    requests = [seven(0, seconds=0.3, model="slow"), *(seven(number, model="slow") for number in range(1, 60))]
    answers = list(slow.stub.ModelStreamInfer(iter(requests), timeout=20))
    errors = {answer.error_message for answer in answers}
    assert errors == {"", "too many requests are in progress: try again"}
    assert labels(answers[0]) == [7]


def test_each_request_has_its_own_deadline(slow: GrpcClient) -> None:
    late = seven(1, seconds=0.6, model="slow")
    late.parameters["timeout"].int64_param = 100_000
    first, second = slow.stub.ModelStreamInfer(iter([late, seven(2, model="slow")]), timeout=20)
    assert "deadline" in first.error_message
    assert first.infer_response.id == "1"
    assert labels(second) == [7]


def test_a_stream_that_is_cancelled_or_late_cancels_its_requests(slow: GrpcClient) -> None:
    for status, timeout in ((499, 20.0), (504, 0.2)):
        stream = Sender(slow, timeout=timeout)
        stream.send(*(seven(number, seconds=0.5, model="slow") for number in range(5)))
        if status == 499:
            wait_until(lambda: slow.server.metric("queue_rows") > 0)
            stream.answers.cancel()
        refused(Code.CANCELLED if status == 499 else Code.DEADLINE_EXCEEDED, lambda s=stream: list(s.answers))  # type: ignore[misc]
        wait_until(lambda: slow.server.metric("queue_rows") == 0)
        assert slow.server.logged(path=STREAM_INFER, status=status)
        stream.send(None)


@pytest.mark.full
def test_a_client_that_reads_nothing_is_read_no_further(client: GrpcClient) -> None:
    """Its answers fill the connection's buffers, then its requests do."""
    sent = 0
    over = Event()

    def requests() -> Iterator[pb.ModelInferRequest]:
        nonlocal sent
        while not over.is_set() and sent < 100_000:
            sent += 1
            yield seven(sent, rows=30)

    unread = client.stub.ModelStreamInfer(requests(), timeout=60)
    before = -1
    while before < sent:  # until none is taken for a while
        before = sent
        over.wait(0.3)
    over.set()
    assert sent < 100_000
    assert labels(next(unread)) == [7] * 30
    unread.cancel()


@pytest.mark.full
def test_at_shutdown_requests_that_were_read_are_answered_and_the_stream_ends(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    uri = slow_reader(tmp_path_factory.mktemp("models") / "slow.onnx")
    with grpc_client(model_uri=uri, batching="on", drain_seconds=0.2, request_timeout_ms=15_000) as client:
        idle, busy = Sender(client), Sender(client)
        idle.send(seven(0, model="slow"))
        assert labels(next(idle.answers)) == [7]
        busy.send(*(seven(number, seconds=0.5, model="slow") for number in range(3)))
        wait_until(lambda: client.server.metric("queue_rows") > 0)
        client.server.process.terminate()
        assert [labels(next(busy.answers)) for _ in range(3)] == [[7]] * 3
        for stream in (busy, idle):
            refused(Code.UNAVAILABLE, lambda s=stream: next(s.answers), "another stream")  # type: ignore[misc]
            stream.send(None)
        client.server.process.wait(5)
        assert not [line for line in client.server.log_lines() if line["level"] == "ERROR"]
