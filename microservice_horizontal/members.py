"""A member: one of the models that vote, as the proxy calls it."""

from dataclasses import dataclass
from uuid import UUID

from yarl import URL

from common import domain
from common.backends.backend import Backend
from common.backends.classifier import Classification
from common.backends.classifier_rest import RestClassifier
from common.backends.http_client import HttpClient
from common.backends.metrics import BackendMetrics
from common.inference.tensor_spec import Tensors
from common.service.request_context import RequestContext
from common.service.service import Service
from common.store.remote import classify_stored
from microservice_horizontal.settings import ProxySettings, name_of

Picture = Tensors | UUID
"""The row of a picture, or the id of a picture that each member loads from the store itself."""


@dataclass(frozen=True, slots=True)
class Member:
    """A model by its name, and its addresses."""

    name: str
    classifier: RestClassifier
    retrieve_url: URL

    async def predict(self, picture: Picture, context: RequestContext) -> Classification:
        """Its probabilities, shape (1, 10); raises `BackendError`, or `Problem` 404 if the picture is not stored."""
        if isinstance(picture, UUID):
            return await classify_stored(self.classifier, self.retrieve_url, picture, context, rows=1)
        return await self.classifier.classify(picture, context)


def connect(app: Service, settings: ProxySettings) -> dict[str, Member]:
    """All members by name, each with its own circuit breaker, on one connection pool."""
    client, metrics = HttpClient(app), BackendMetrics(app.metrics.registry)

    def member(name: str, url: str) -> Member:
        backend = Backend(name, settings, metrics)
        classifier = RestClassifier(backend, client, url, outputs=domain.OUTPUTS, classes=len(domain.LABELS))
        return Member(name, classifier, URL(url).with_path("/retrieve"))

    return {name_of(url): member(name_of(url), url) for url in settings.members}
