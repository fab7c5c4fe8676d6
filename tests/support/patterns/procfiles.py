"""What the Procfile of a pattern starts, and the settings that it takes."""

import re
from importlib import import_module
from types import NoneType
from typing import get_args, get_type_hints

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from batch.settings import JobSettings
from common.service.settings import ServiceSettings
from tests.support.processes import ROOT

JOB = "batch.job"
"""A program that is no app."""


def commands(pattern: str) -> dict[str, str]:
    """The commands of a pattern's Procfile by name; the front's name is the pattern's."""
    procfile = (ROOT / pattern / "Procfile").read_text()
    return dict(re.findall(r"^([\w-]+): (.+)$", procfile, re.MULTILINE))


def app_in(command: str) -> str:
    """`package.module:create_app` in a command, or the batch job, or nothing."""
    found = re.search(r"[\w.]+:create_app", command) or re.search(rf"{re.escape(JOB)}\b", command)
    return found[0] if found else ""


def settings_of(app: str) -> type[ServiceSettings]:
    """The settings that an app takes."""
    module, _, function = app.partition(":")
    choices = get_args(get_type_hints(getattr(import_module(module), function))["settings"])
    settings: type[ServiceSettings] = next(choice for choice in choices if choice is not NoneType)
    return settings


def settings_classes(pattern: str) -> list[type[ServiceSettings]]:
    """The settings of each kind of service that a pattern starts."""
    apps = sorted({app_in(command) for command in commands(pattern).values()} - {""})
    return [settings_of(app) for app in apps]


def variables(app: str) -> dict[str, FieldInfo]:
    """The environment variables that an app takes; the batch manager hands those of its jobs on to them."""
    classes: list[type[BaseSettings]] = [settings_of(app)] if app != JOB else []
    if app in (JOB, "batch.manager:create_app"):
        classes.append(JobSettings)
    return {name.upper(): field for settings in classes for name, field in settings.model_fields.items()}


def variables_of_all(pattern: str) -> list[tuple[str, FieldInfo]]:
    """Those of each kind of service that a pattern starts; what several take is there several times."""
    apps = sorted({app_in(command) for command in commands(pattern).values()} - {""})
    return [variable for app in apps for variable in variables(app).items()]
