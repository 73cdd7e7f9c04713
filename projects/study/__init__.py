"""Studies such as that of docs/study.md: many trainings on a mixed pool, scored alike on tasks."""
