"""Schedules become runs: what has come due is entered into the registry, each due time with an output of its own."""

import logging
from datetime import datetime, timedelta

from batch.data_root import DataRoot
from batch.scheduling.cron import Rule, fill_template, select_due_times
from batch.scheduling.registry import Registry
from batch.schemas import RunForm, Schedule
from common.service.problems import Problem

logger = logging.getLogger(__name__)


class Firing:
    """Enters runs; whether and when they start is not its business."""

    def __init__(self, registry: Registry, root: DataRoot) -> None:
        self._registry = registry
        self._root = root

    def fire(self, schedule: Schedule, now: datetime) -> None:
        """Enter the runs that have come due."""
        kinds = ((False, schedule.rule, schedule.next_due), (True, schedule.trial_rule, schedule.next_trial))
        for trial, text, due in kinds:
            if text is None or due is None or due > now:
                continue
            rule = Rule(text, schedule.time_zone)
            times = select_due_times(rule, due, now, schedule.misfire_seconds, schedule.catch_up)
            runs = [(time, form) for time in times if (form := self._form(schedule, rule, time, trial))]
            self._registry.fire(schedule, runs, rule.next_due(now), trial)
            logger.info("schedule %s: %d runs came due, %s and after", schedule.name, len(runs), due)

    def _form(self, schedule: Schedule, rule: Rule, due: datetime, trial: bool) -> RunForm | None:
        """The run of a due time."""
        inputs = [fill_template(template, due, rule.zone) for template in schedule.input]
        output = fill_template(schedule.output, due, rule.zone)
        try:
            inputs, output = self._root.check(inputs, output)
        except Problem as problem:  # somebody has put a link there since
            logger.error("schedule %s cannot run: %s", schedule.name, problem.detail)
            return None
        day = due.astimezone(rule.zone).date()
        form = RunForm(
            **schedule.model_dump(include={"engine", "retry", "deadline_seconds", "on_deadline"}),
            input=inputs,
            output=output,
            first=day - timedelta(days=schedule.interval) if schedule.interval else None,
            last=day - timedelta(days=1) if schedule.interval else None,
            trial=trial,
        )
        return form.in_place()
