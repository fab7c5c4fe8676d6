"""Batching without a timer: requests that arrive while a batch runs become the next batch.

A batch runs in a worker thread, unless it is so small that it runs inline, one for each iteration of the event loop.
Requests that arrive in the meantime queue; all of them, up to a limit, are the next batch. Idle latency stays the same
either way, and load makes the batches. A request with more rows than a batch is split.

A request that does not fit into the queue is rejected immediately. A request whose deadline has passed, or whose client
has disconnected, is dropped before it costs an inference. An entry that makes a batch fail fails alone.

Entries that share no run are batches of one. Small ones that wait run one after another in the same turn of the thread:
a turn costs more than they do.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from math import inf
from time import monotonic, thread_time

from starlette.requests import ClientDisconnect

from common.inference.entries import ALONE, Entry, Prediction, count_elements, join, run_batch
from common.inference.tensor_spec import Run, Tensors
from common.service.problems import Problem

NEVER_INLINE = -1


class Batcher:
    """Shares the runs of one model among concurrent callers, in order of arrival.

    `run` takes and returns arrays whose first axis counts rows; it runs inline if its inputs have at most
    `inline_elements` elements, else in one worker thread (`NEVER_INLINE`: always there). After a batch that took more
    than `inline_seconds` inline, those of half as many elements run in the thread, too. Entries with the key `ALONE`
    share a turn while their inputs have fewer than `turn_elements` elements, but no run. No batch has more than
    `max_batch_rows` rows, and at most `max_queue_rows` rows wait. `on_batch` gets the rows of each batch, the
    seconds that its first entry waited, and the seconds that it ran.
    """

    def __init__(
        self,
        run: Run,
        *,
        max_batch_rows: int,
        max_queue_rows: int,
        inline_elements: float,
        inline_seconds: float = inf,
        turn_elements: float = 0,
        on_batch: Callable[[int, float, float], None] = lambda rows, waited, ran: None,
    ) -> None:
        self.queued_rows = 0
        self._run = run
        self._max_batch_rows = max_batch_rows
        self._max_queue_rows = max_queue_rows
        self._on_batch = on_batch
        self._queue: OrderedDict[Entry, None] = OrderedDict()
        self._busy = False
        self._loop: asyncio.AbstractEventLoop  # of those who wait
        self._inline_elements = inline_elements
        self._inline_seconds = inline_seconds
        self._turn_elements = turn_elements
        self._threaded = inline_elements == NEVER_INLINE  # whether entries that arrive now may wait for a thread
        self._worker = ThreadPoolExecutor(1, "inference")

    def submit(
        self,
        inputs: Tensors,
        rows: int,
        deadline: float,
        key: Hashable = None,
        client_disconnected: Callable[[], bool] = lambda: False,
    ) -> asyncio.Future[Prediction]:
        """Queue `rows` rows; the future resolves to their outputs.

        `deadline` is a `time.monotonic()`. Only entries with an equal `key` share a batch. Raises `Problem` 413 (more
        rows than may ever wait) or 503 (queue full); the future raises `Problem` 504 (deadline passed) or
        `ClientDisconnect`, or what the model raised for these rows.
        """
        if self._busy and self._loop.is_closed():
            self._forget_loop()
        if self.queued_rows + rows > self._max_queue_rows:
            raise self._queue_full(rows)
        if rows > self._max_batch_rows:
            return self._submit_parts(inputs, rows, deadline, key, client_disconnected)
        if not self._busy:
            self._busy = True
            self._loop = asyncio.get_running_loop()  # not for each request: up to Python 3.11, it is a system call
            self._loop.call_soon(self._run_next)
        future: asyncio.Future[Prediction] = self._loop.create_future()
        entry = Entry(inputs, rows, deadline, key, client_disconnected, future, monotonic())
        self._queue[entry] = None
        self.queued_rows += rows
        if self._threaded:
            self._watch(entry)
        return future

    def _forget_loop(self) -> None:
        """Start with an empty queue where a loop ended before its batch, as that of a `TestClient` request may."""
        self._busy, self.queued_rows = False, 0
        self._queue.clear()

    def _submit_parts(
        self, inputs: Tensors, rows: int, deadline: float, key: Hashable, client_disconnected: Callable[[], bool]
    ) -> asyncio.Future[Prediction]:
        """Queue the rows as several entries; the future resolves to the outputs of all, or to the first failure."""
        size = self._max_batch_rows
        parts = [
            self.submit(
                {name: value[start : start + size] for name, value in inputs.items()},
                min(size, rows - start),
                deadline,
                key,
                client_disconnected,
            )
            for start in range(0, rows, size)
        ]

        joined: asyncio.Future[Prediction] = self._loop.create_future()

        def finish(gathered: "asyncio.Future[list[Prediction]]") -> None:
            if joined.done():
                return
            if gathered.cancelled():
                joined.cancel()
            elif error := gathered.exception():
                joined.set_exception(error)
            else:
                joined.set_result(join(gathered.result()))

        asyncio.gather(*parts).add_done_callback(finish)
        joined.add_done_callback(lambda _: [part.cancel() for part in parts])
        return joined

    def _run_next(self) -> None:
        """Run the next batch, inline or in the worker thread; its end starts the next. Idle if the queue is empty."""
        batch = self._next_batch()
        self._busy = bool(batch)
        self._threaded = count_elements(batch) > self._inline_elements
        if not batch:
            return
        started = monotonic()
        if not self._threaded:
            cpu = thread_time()
            outcomes = run_batch(self._run, batch)
            if monotonic() - started > self._inline_seconds < thread_time() - cpu:  # not because the CPU was elsewhere
                self._inline_elements = count_elements(batch) / 2 - 1
            self._resolve_batch(batch, outcomes, started)
            return
        for entry in (*batch, *self._queue):
            self._watch(entry)
        work = self._loop.run_in_executor(self._worker, run_batch, self._run, batch)
        work.add_done_callback(lambda done: self._resolve_batch(batch, done.result(), started))

    def _next_batch(self) -> list[Entry]:
        """As many entries from the head as may share a run; entries that no client waits for are dropped."""
        batch: list[Entry] = []
        rows = 0
        now = monotonic()
        while self._queue:
            entry = next(iter(self._queue))
            if batch and (rows + entry.rows > self._max_batch_rows or entry.key != batch[0].key):
                break
            if batch and entry.key is ALONE and count_elements([*batch, entry]) >= self._turn_elements:
                break
            self._remove(entry)
            if self._should_run(entry, now):
                batch.append(entry)
                rows += entry.rows
        return batch

    def _resolve_batch(self, batch: list[Entry], outcomes: list[Tensors | Exception], started: float) -> None:
        """Give each entry its outcome, and have the next batch run."""
        self._loop.call_soon(self._run_next)
        runs = [[entry] for entry in batch] if batch[0].key is ALONE else [batch]
        ran = (monotonic() - started) / len(runs)
        for entry, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                entry.resolve(outcome)
            else:
                entry.resolve(Prediction(outcome, started - entry.submitted, ran))
        for run in runs:
            self._on_batch(sum([entry.rows for entry in run]), started - run[0].submitted, ran)

    def _should_run(self, entry: Entry, now: float) -> bool:
        """Whether a client still waits for this entry; if not, its future is resolved or was cancelled."""
        if entry.deadline <= now:
            entry.expire()
        elif self._threaded and entry.client_disconnected():
            entry.resolve(ClientDisconnect())
        return not entry.future.done()

    def _watch(self, entry: Entry) -> None:
        """Let the entry fail at its deadline. Inline batches need no timer: they empty the queue in each iteration."""
        if entry.timer is None:
            entry.timer = self._loop.call_later(entry.deadline - monotonic(), entry.expire)
            entry.future.add_done_callback(lambda _: self._on_future_done(entry))

    def _queue_full(self, rows: int) -> Problem:
        if rows > self._max_queue_rows:
            limit = f"at most {self._max_queue_rows} rows in one request (MAX_QUEUE_ROWS)"
            return Problem(413, f"expected {limit}, got {rows}: send several")
        return Problem(503, f"{self.queued_rows} rows are waiting already: try again", {"Retry-After": "1"})

    def _on_future_done(self, entry: Entry) -> None:
        if entry.timer:
            entry.timer.cancel()
        if entry in self._queue:
            self._remove(entry)

    def _remove(self, entry: Entry) -> None:
        del self._queue[entry]
        self.queued_rows -= entry.rows
