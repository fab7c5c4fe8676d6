"""Input in an object store, through a real server of Amazon's S3 protocol: files by any name, and their versions."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
import pytest

from batch.dataset.files import read_version
from tests.support.batch.parquet_data import pictures, rows_of, run_job, state, write
from tests.support.processes import free_port, listens, running, wait_until

pytestmark = pytest.mark.full

CREDENTIALS: dict[str, Any] = {
    "aws_access_key_id": "key",
    "aws_secret_access_key": "secret",
    "aws_ec2_metadata_disabled": "true",
}
NAMES = ["date=2026-01-01/a b.parquet", "date=2026-01-01/100%25.parquet", "date=2026-01-02/größe#1?.parquet"]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    port = free_port()
    with running(sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)):
        wait_until(lambda: listens(port))
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def bucket(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> pafs.S3FileSystem:
    """The files of `NAMES`, two rows each, in `scans`."""
    store = pafs.S3FileSystem(
        access_key="key", secret_key="secret", scheme="http", endpoint_override=endpoint, allow_bucket_creation=True
    )
    store.create_dir("scans")
    folder = tmp_path_factory.mktemp("files")
    for number, name in enumerate(NAMES):
        put(store, f"scans/{name}", write(folder / f"{number}.parquet", pictures(2)))
    return store


def put(store: pafs.S3FileSystem, name: str, file: Path) -> None:
    with store.open_output_stream(name) as out:
        out.write(file.read_bytes())


def address(endpoint: str, path: str) -> str:
    return f"s3://{path}?scheme=http&endpoint_override={endpoint}&region=us-east-1"


def test_every_file_of_a_bucket_is_read_whatever_its_name_is(
    bucket: pafs.S3FileSystem, endpoint: str, tmp_path: Path
) -> None:
    run_job(address(endpoint, "scans"), tmp_path / "out", **CREDENTIALS)
    assert {*rows_of(tmp_path / "out")} == {f"{file}-{row}" for file in range(len(NAMES)) for row in range(2)}
    versions = [chunk["version"] for chunk in state(tmp_path / "out", "_manifest.json")["chunks"]]
    assert all(version["identity"] for version in versions)  # the ETags


def test_partitions_and_single_files_of_a_bucket_are_chosen(
    bucket: pafs.S3FileSystem, endpoint: str, tmp_path: Path
) -> None:
    run_job(address(endpoint, "scans/"), tmp_path / "day", "--first=2026-01-02", "--last=2026-01-02", **CREDENTIALS)
    assert {*rows_of(tmp_path / "day")} == {"2-0", "2-1"}
    run_job(address(endpoint, "scans/date=2026-01-01/a%20b.parquet"), tmp_path / "one", **CREDENTIALS)
    assert {*rows_of(tmp_path / "one")} == {"0-0", "0-1"}


def test_bucket_that_is_not_there_is_one_sentence(bucket: pafs.S3FileSystem, endpoint: str, tmp_path: Path) -> None:
    said = run_job(address(endpoint, "nowhere"), tmp_path / "out", code=1, **CREDENTIALS)
    assert "there is no such file or folder" in said


def test_object_that_is_replaced_between_two_attempts_is_read_as_it_is_now(
    bucket: pafs.S3FileSystem, endpoint: str, tmp_path: Path
) -> None:
    good = write(tmp_path / "good.parquet", pictures(3))
    put(bucket, "scans/changing/good.parquet", good)
    with bucket.open_output_stream("scans/changing/bad.parquet") as out:
        out.write(b"PAR1, but no more")
    source, output = address(endpoint, "scans/changing"), tmp_path / "out"
    run_job(source, output, code=1, **CREDENTIALS)
    put(bucket, "scans/changing/bad.parquet", write(tmp_path / "bad.parquet", np.ones((2, 64), np.float32)))
    run_job(source, output, **CREDENTIALS)
    assert {*rows_of(output)} == {"good-0", "good-1", "good-2", "bad-0", "bad-1"}


def test_version_of_an_object_changes_with_its_content_alone(
    bucket: pafs.S3FileSystem, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same size, in the same second."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name.upper(), value)
    versions = []
    for content in (b"one", b"two", b"two"):
        with bucket.open_output_stream("scans/version/object") as out:
            out.write(content)
        versions.append(read_version(address(endpoint, "scans/version/object")))
    first, second, third = (version.identity for version in versions if version)
    assert first != second == third
    assert read_version(address(endpoint, "scans/version/none")) is None


def test_output_at_an_address_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", pictures(1))
    said = run_job(source, "s3://bucket/out", code=2)  # type: ignore[arg-type]  # as a person may write it
    assert "argument --output: expected a folder, got the address s3://bucket/out" in said


def test_no_secret_of_an_address_is_printed_or_written_for_a_file_that_cannot_be_read(
    bucket: pafs.S3FileSystem, endpoint: str, tmp_path: Path
) -> None:
    (tmp_path / "bad").write_bytes(b"no Parquet")
    bucket.create_dir("broken")
    put(bucket, "broken/a.parquet", tmp_path / "bad")
    said = run_job(address(endpoint, "key:sesame@broken"), tmp_path / "out", code=1, **CREDENTIALS)
    (error,) = state(tmp_path / "out")["errors"]
    assert error.startswith("s3://***@broken/a.parquet?***: ")
    assert error in said
    assert "sesame" not in said
