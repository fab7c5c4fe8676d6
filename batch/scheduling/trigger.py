"""Turns due times of schedules into runs in the registry, each with an output of its own."""

import logging
from datetime import datetime, timedelta

from batch.data_root import DataRoot
from batch.registry.registry import Registry
from batch.scheduling.cron import Rule, fill_template, select_due_times
from batch.schemas import RunRequest, Schedule
from common.service.problems import Problem

logger = logging.getLogger(__name__)


class ScheduleTrigger:
    """Adds runs to the registry; the control loop starts them."""

    def __init__(self, registry: Registry, root: DataRoot) -> None:
        self._registry = registry
        self._root = root

    def trigger(self, schedule: Schedule, now: datetime) -> None:
        """Add the runs that are due, and trial runs."""
        kinds = ((False, schedule.rule, schedule.next_due), (True, schedule.trial_rule, schedule.next_trial))
        for trial, text, due in kinds:
            if text is None or due is None or due > now:
                continue
            rule = Rule(text, schedule.time_zone)
            times = select_due_times(rule, due, now, schedule.misfire_seconds, schedule.catch_up)
            requests = [(time, request) for time in times if (request := self._request(schedule, rule, time, trial))]
            added = self._registry.trigger(schedule, requests, rule.next_due(now), trial)
            logger.info("schedule %s: %d runs added, due since %s", schedule.name, added, due)

    def _request(self, schedule: Schedule, rule: Rule, due: datetime, trial: bool) -> RunRequest | None:
        """The run of a due time; None if its paths are not allowed."""
        inputs = [fill_template(template, due, rule.zone) for template in schedule.input]
        output = fill_template(schedule.output, due, rule.zone)
        try:
            inputs, output = self._root.check(inputs, output)
        except Problem as problem:  # a symbolic link may have been created since the schedule was added
            logger.error("schedule %s cannot run: %s", schedule.name, problem.detail)
            return None
        day = due.astimezone(rule.zone).date()
        request = RunRequest(
            **schedule.model_dump(include={"engine", "retry", "deadline_seconds", "on_deadline"}),
            input=inputs,
            output=output,
            first=day - timedelta(days=schedule.interval) if schedule.interval else None,
            last=day - timedelta(days=1) if schedule.interval else None,
            trial=trial,
        )
        return request.with_trial_output()
