"""A member: one of the models that vote, as the proxy asks it."""

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
from microservice_horizontal.settings import ProxySettings, name_of

Picture = Tensors | UUID
"""Its row, or the id of a picture that each member gets from the store itself."""
JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Member:
    """A model by its name, and where it is asked."""

    name: str
    classifier: RestClassifier
    retrieve: URL

    async def ask(self, picture: Picture, context: RequestContext) -> Classification:
        """Its probabilities, shape (1, 10); raises `BackendError`, or `Problem` 404 where the picture is not kept."""
        if not isinstance(picture, UUID):
            return await self.classifier.classify(picture, context)
        try:
            return await self.classifier.send(self.retrieve, to_json({"image_id": picture}), JSON, context, rows=1)
        except BackendError as error:
            if error.status == 404 and str(picture) in error.cause:
                raise not_kept(picture) from None
            raise


def connect(app: Service, settings: ProxySettings) -> dict[str, Member]:
    """All members by name, each with a breaker of its own, on one pool of connections."""
    client, metrics = HttpClient(app), BackendMetrics(app.metrics.registry)

    def member(name: str, url: str) -> Member:
        backend = Backend(name, settings, metrics)
        classifier = RestClassifier(backend, client, url, outputs=domain.OUTPUTS, classes=len(domain.LABELS))
        return Member(name, classifier, URL(url).with_path("/retrieve"))

    return {name_of(url): member(name_of(url), url) for url in settings.members}
