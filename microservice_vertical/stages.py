"""A stage: a service that the proxy calls, which scans it reads, and what its failure means."""

from dataclasses import dataclass
from uuid import UUID

from yarl import URL

from common import domain
from common.backends.backend import Backend
from common.backends.classifier import Classification
from common.backends.classifier_rest import RestClassifier
from common.backends.errors import BackendError
from common.backends.http_client import HttpClient
from common.backends.metrics import BackendMetrics
from common.inference.tensor_spec import Tensors
from common.service.request_context import RequestContext
from common.service.service import Service
from common.store.image_store import Scans
from common.store.remote import classify_stored
from microservice_vertical.results import LEGIBILITY_CLASSES, StageName, StageResult, to_result
from microservice_vertical.settings import ProxySettings

Letter = Tensors | UUID
"""The rows of a letter's scans, or the id of scans that each predictor loads from the store itself."""
SLICES: dict[Scans, slice] = {"first": slice(1), "all": slice(None)}


@dataclass(frozen=True, slots=True)
class Stage:
    """A service by its name, the scans that it reads, and whether the request fails if it fails."""

    name: StageName
    classifier: RestClassifier
    retrieve_url: URL
    scans: slice
    required: bool

    async def predict(self, letter: Letter, context: RequestContext) -> StageResult:
        """Its result; for an optional stage perhaps a failed one.

        Raises `Problem`: 404 if the letter is not stored; 502, 503 or 504 if a required stage fails, with its name.
        """
        try:
            classification = await self._classify(letter, context)
            return to_result(self.name, classification, context.timings[self.name])
        except BackendError as error:
            if self.required:
                raise error.problem() from None
            return StageResult(self.name, context.timings[self.name], failure=error)

    async def _classify(self, letter: Letter, context: RequestContext) -> Classification:
        if isinstance(letter, UUID):
            return await classify_stored(self.classifier, self.retrieve_url, letter, context)
        return await self.classifier.classify({name: rows[self.scans] for name, rows in letter.items()}, context)


def connect(app: Service, settings: ProxySettings) -> tuple[Stage, Stage, Stage]:
    """Quality, reader and specialist, each with its own circuit breaker, on one connection pool."""
    client, metrics = HttpClient(app), BackendMetrics(app.metrics.registry)

    def stage(name: StageName, url: str, required: bool, classes: int, scans: Scans) -> Stage:
        backend = Backend(name, settings, metrics)
        classifier = RestClassifier(backend, client, url, outputs=domain.OUTPUTS, classes=classes)
        return Stage(name, classifier, URL(url).with_path("/retrieve"), SLICES[scans], required)

    labels = len(domain.LABELS)
    return (
        stage("quality", settings.quality_url, settings.quality_required, LEGIBILITY_CLASSES, settings.quality_scans),
        stage("reader", settings.reader_url, settings.reader_required, labels, settings.reader_scans),
        stage("specialist", settings.specialist_url, settings.specialist_required, labels, settings.specialist_scans),
    )
