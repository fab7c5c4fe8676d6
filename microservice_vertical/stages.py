"""A stage: one of the services that the proxy asks, which scans it looks at, and what its failure means."""

from dataclasses import dataclass
from uuid import UUID

from pydantic_core import to_json
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
from common.store.image_store import not_kept
from microservice_vertical.schemas import LEGIBILITIES, Answered, FailedAnswer, StageName, answered, failed
from microservice_vertical.settings import ProxySettings

Letter = Tensors | UUID
"""The rows of its scans, or the id of those that each predictor gets from the store itself."""
JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Stage:
    """A service by its name, the scans that it looks at, and whether the request fails where it fails."""

    name: StageName
    classifier: RestClassifier
    retrieve: URL
    scans: slice
    required: bool

    async def ask(self, letter: Letter, context: RequestContext) -> Answered | FailedAnswer:
        """Its answer; where it fails, a failed one if it is soft, else a `Problem` that names it: 502, 503 or 504."""
        try:
            classification = await self._classify(letter, context)
            return answered(self.name, classification, context.timings[self.name])
        except BackendError as error:
            if error.status == 404 and isinstance(letter, UUID) and str(letter) in error.cause:
                raise not_kept(letter) from None
            if self.required:
                raise error.problem() from None
            return failed(self.name, error, context.timings[self.name])

    async def _classify(self, letter: Letter, context: RequestContext) -> Classification:
        if isinstance(letter, UUID):
            return await self.classifier.send(self.retrieve, to_json({"image_id": letter}), JSON, context)
        return await self.classifier.classify({name: rows[self.scans] for name, rows in letter.items()}, context)


def connect(app: Service, settings: ProxySettings) -> tuple[Stage, Stage, Stage]:
    """quality, reader and specialist, each with a breaker of its own, on one pool of connections."""
    client, metrics = HttpClient(app), BackendMetrics(app.metrics.registry)

    def stage(name: StageName, url: str, required: bool, classes: int, scans: slice) -> Stage:
        backend = Backend(name, settings, metrics)
        classifier = RestClassifier(backend, client, url, outputs=domain.OUTPUTS, classes=classes)
        return Stage(name, classifier, URL(url).with_path("/retrieve"), scans, required)

    first, every = slice(1), slice(None)
    return (
        stage("quality", settings.quality_url, settings.quality_required, LEGIBILITIES, first),
        stage("reader", settings.reader_url, settings.reader_required, len(domain.LABELS), first),
        stage("specialist", settings.specialist_url, settings.specialist_required, len(domain.LABELS), every),
    )
