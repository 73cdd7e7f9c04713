"""The study behind docs/study.md: what routing gains, and what gains as much without it, on a mixed pool."""
