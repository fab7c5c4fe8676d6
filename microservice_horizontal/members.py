"""A member: one of the models that vote, as the proxy asks it."""

from dataclasses import dataclass
from uuid import UUID

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from common.backends.backend import Backend, BackendError
from common.backends.classifier import Classification
from common.backends.classifier_rest import RestClassifier
from common.backends.http_client import Client
from common.domain.digits import CLASSES
from common.service.request_context import RequestContext
from common.service.service import Service
from common.store.image_store import not_kept
from microservice_horizontal.settings import ProxySettings, name_of

Picture = NDArray[np.float32] | UUID
"""Features of shape (1, 64), or the id of a picture that each member gets from the store itself."""
JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Member:
    """A model by its name, and where it is asked."""

    name: str
    classifier: RestClassifier
    retrieve: httpx.URL

    async def ask(self, picture: Picture, context: RequestContext) -> Classification:
        """Its probabilities, shape (1, 10); raises `BackendError`, or `Problem` 404 where the picture is not kept."""
        if not isinstance(picture, UUID):
            return await self.classifier.classify(picture, context)
        try:
            return await self.classifier.ask(self.retrieve, to_json({"image_id": picture}), JSON, context, rows=1)
        except BackendError as error:
            if error.status == 404 and str(picture) in error.cause:
                raise not_kept(picture) from None
            raise


def connect(app: Service, settings: ProxySettings) -> dict[str, Member]:
    """All members by name, each with a breaker of its own, on one pool of connections."""
    client = Client(app)
    return {
        (name := name_of(url)): Member(
            name,
            RestClassifier(Backend(name, settings, app.metrics), client, url, CLASSES),
            httpx.URL(url).join("/retrieve"),
        )
        for url in settings.members
    }
