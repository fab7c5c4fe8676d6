"""Every pattern's hot path, for the tests of what a FastAPI user adds to a service."""

import pytest

from tests.support.patterns.hot_paths import HOT_PATHS, HotPath


@pytest.fixture(params=HOT_PATHS)
def hot_path(request: pytest.FixtureRequest) -> HotPath:
    create_app, path, body = HOT_PATHS[request.param]
    return create_app(), path, body
