"""Running a training: the runner, hooks, schedules, warm start, the record of a run."""
