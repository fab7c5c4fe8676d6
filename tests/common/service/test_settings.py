"""Settings come from the environment alone; a wrong one ends the process with one line that names the variable."""

import re

import pytest

from batch.settings import ManagerSettings
from common.service.settings import ServiceSettings
from microservice_horizontal.settings import ProxySettings as HorizontalSettings
from microservice_vertical.settings import ProxySettings as VerticalSettings
from synchronous.settings import ProxySettings as SynchronousSettings
from tests.support.patterns.procfiles import settings_classes, variables_of_all
from tests.support.processes import PATTERNS, ROOT
from tests.support.samples import SEVEN_PIXELS
from tests.support.service_process import serving, starting

WRONG = {
    "max_batch_rows": "0",
    "max_queue_rows": "many",
    "max_pixels": "",
    "drain_seconds": "-1",
    "log_level": "loud",
    "model_sha256": "abc",
}


@pytest.mark.parametrize("settings", [{"max_batch_rows": "0"}, WRONG], ids=["one", "many"])
def test_wrong_settings_end_the_process_with_one_line_that_names_each(settings: dict[str, str]) -> None:
    with starting(**settings) as server:
        assert server.process.wait(20) != 0
        (line,) = server.log.read_text().splitlines()
        assert line.startswith("cannot start")
        assert [name for name, value in settings.items() if f"{name.upper()}={value}: " not in line] == []


def test_settings_take_effect() -> None:
    with serving(max_body_bytes=500, max_batch_rows=2, model_name="post") as server:
        picture = {"pixels": [int(value) for value in SEVEN_PIXELS]}
        assert server.read(picture).json()["model"]["name"] == "post"
        assert server.read([picture] * 4).status_code == 413  # more than 500 bytes


def test_a_mistyped_setting_is_warned_of_with_the_one_that_is_meant() -> None:
    with serving(max_batchrows=3, model_url="x") as server:
        warnings = [line for line in server.log.read_text().splitlines() if "WARNING" in line]
        assert len(warnings) == 2
        assert "MAX_BATCHROWS is no setting, and is ignored: is MAX_BATCH_ROWS meant?" in warnings[0]
        assert "MODEL_URL is no setting, and is ignored: is MODEL_URI meant?" in warnings[1]


def test_batchs_manager_warns_of_a_mistyped_setting_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHUNKROWS", "5")
    assert list(ManagerSettings.find_mistyped()) == ["CHUNKROWS is no setting, and is ignored: is CHUNK_ROWS meant?"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_setting_of_a_service_is_taken_for_a_mistyped_one_of_another(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `make`, the services of a pattern see one environment."""
    procfile = re.findall(r"\$\{(\w+)", (ROOT / pattern / "Procfile").read_text())
    for name in [*procfile, *(name for name, _ in variables_of_all(pattern))]:
        monkeypatch.setenv(name, "1")
    assert {text for settings in settings_classes(pattern) for text in settings.find_mistyped()} == set()


@pytest.mark.full
def test_with_log_level_warning_a_server_that_does_well_says_nothing() -> None:
    with serving(log_level="WARNING") as server:
        server.still_reads_right()
        assert server.log.read_text() == ""


@pytest.mark.parametrize(
    ("settings", "name"), [(SynchronousSettings, "PREDICTOR_URL"), (HorizontalSettings, "MEMBERS")]
)
def test_a_wrong_setting_is_printed_without_the_secrets_of_its_url(
    settings: type[ServiceSettings], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("ftp://me:sesame@host/v2/models/mlp?token=sesame", "me:sesame=@host", "ftp://me:sesame@host#sesame"):
        monkeypatch.setenv(name, url)
        with pytest.raises(SystemExit) as ended:
            settings.from_environment()
        assert f"{name}=" in str(ended.value)
        assert "***@host" in str(ended.value)
        assert "sesame" not in str(ended.value)


@pytest.mark.parametrize(
    ("settings", "name"),
    [(SynchronousSettings, "PREDICTOR_URL"), (VerticalSettings, "READER_URL"), (HorizontalSettings, "MEMBERS")],
)
@pytest.mark.parametrize(
    "url",
    [
        "http://me:sesame@127.0.0.1:99999/v2/models/mlp",
        "http://me:sesame@127.0.0.1:x/v2/models/mlp",
        "http://me:sesame@[::1/v2/models/mlp",
        "http://me:sesame@/v2/models/mlp",
        "http://:80/v2/models/mlp",
        "http://host/v2/models/mlp?token=sesame",
        "http://host/v2/models/mlp#sesame",
        "http://host name/v2/models/mlp",
    ],
)
def test_an_address_at_which_no_model_can_be_called_is_refused_in_one_line(
    settings: type[ServiceSettings], name: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, url)
    with pytest.raises(
        SystemExit, match=rf"^cannot start, .*{name}=http://.*, expected http.*://HOST:PORT/v2"
    ) as ended:
        settings.from_environment()
    assert "sesame" not in str(ended.value)


def test_a_secret_behind_a_comma_in_a_url_of_a_list_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMBERS", "http://host/v2/models/mlp?signed=(1,sesame),ftp://other/v2/models/svm?key=sesame")
    with pytest.raises(SystemExit) as ended:
        HorizontalSettings.from_environment()
    assert "MEMBERS=http://host/v2/models/mlp?***" in str(ended.value)
    assert "MEMBERS=***" in str(ended.value)
    assert "sesame" not in str(ended.value)


def test_a_wrong_part_of_a_list_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMBERS", "http://host/v2/models/mlp, ftp://other/v2/models/svm")
    monkeypatch.setenv("WEIGHTS", "mlp=heavy")
    with pytest.raises(SystemExit, match=r"MEMBERS=ftp://other/v2/models/svm: .*WEIGHTS=heavy: "):
        HorizontalSettings.from_environment()
