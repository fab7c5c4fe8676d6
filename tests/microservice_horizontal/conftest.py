"""The horizontal pattern with slow members, which the tests of several files share; each leaves it whole."""

from collections.abc import Iterator

import pytest

from tests.support.horizontal.deployment import LinkedDeployment, linked_deployment, slow_members, slow_svm


@pytest.fixture(scope="package")
def with_slow_svm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LinkedDeployment]:
    """One whose member svm takes as long over a picture as the picture says."""
    with linked_deployment(slow_svm(tmp_path_factory.mktemp("slow"))) as deployment:
        yield deployment


@pytest.fixture(scope="package")
def with_slow_members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LinkedDeployment]:
    """One whose members svm and mlp do so, svm with one picture at a time."""
    with linked_deployment(slow_members(tmp_path_factory.mktemp("slow"))) as deployment:
        yield deployment
