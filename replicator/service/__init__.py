"""The running service: schedule, workers, status, logs."""
