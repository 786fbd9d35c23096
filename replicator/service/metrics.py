"""Metrics for Prometheus: what the board knows at the moment of a scrape. `metrics_server` serves them."""

from __future__ import annotations

import math
import time
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from replicator.service.status import lag_seconds
from replicator.service.totals import DURATION_BOUNDS_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client.metrics_core import Metric

    from replicator.service.board import StatusBoard
    from replicator.service.mirror_board import MirrorBoard
    from replicator.service.totals import Durations

#: Of what `Metrics.render` returns.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_PAIR: Final = ("database", "destination")
_MIRROR: Final = ("mirror", "destination")
_BUCKETS: Final = (*(str(bound_seconds) for bound_seconds in DURATION_BOUNDS_SECONDS), "+Inf")


class Metrics:
    """What `board` knows, in Prometheus' text format."""

    def __init__(
        self, board: StatusBoard, *, mirrors: MirrorBoard | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_BoardCollector(board, clock))
        if mirrors is not None:
            self._registry.register(_MirrorCollector(mirrors))

    def render(self) -> bytes:
        """Return what a scrape gets now."""
        return generate_latest(self._registry)


class _BoardCollector(Collector):
    def __init__(self, board: StatusBoard, clock: Callable[[], float]) -> None:
        self._board = board
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        yield from self._database_gauges()
        yield from self._database_totals()
        yield from self._pair_gauges()
        yield from self._pair_totals()

    def _database_gauges(self) -> Iterable[Metric]:
        pinned = _gauge("pinned_bytes", "Obsolete files of the primary that are held on to.", "database")
        free = _gauge("free_bytes", "Free space on the filesystem of the checkpoint root.", "database")
        low = _gauge("below_min_free", "1 while something is given up because too little is free.", "database")
        for database in self._board.snapshot():
            _add(low, bool(database.given_up), database.name)
            _add(pinned, database.pinned_bytes, database.name)
            _add(free, database.free_bytes, database.name)
        return pinned, free, low

    def _database_totals(self) -> Iterable[Metric]:
        durations = HistogramMetricFamily(
            "replicator_checkpoint_duration_seconds", "Time that a checkpoint took.", labels=["database"]
        )
        failures = _counter("checkpoint_failures", "Checkpoints that could not be made.", "database")
        for name, totals in self._board.database_totals().items():
            durations.add_metric(
                [name], _buckets(totals.checkpoint_durations), totals.checkpoint_durations.sum_seconds
            )
            failures.add_metric([name], totals.checkpoint_failures)
        return durations, failures

    def _pair_gauges(self) -> Iterable[Metric]:
        lag = _gauge(
            "lag_seconds", "Age of the newest state that could be restored; infinite if none is known.", *_PAIR
        )
        published = _gauge("last_publish_timestamp_seconds", "When the last generation was published.", *_PAIR)
        backlog = _gauge("backlog_bytes", "Bytes of write-ahead log that are not shipped yet.", *_PAIR)
        drilled = _gauge("last_drill_timestamp_seconds", "When the last restore drill was made.", *_PAIR)
        loss = _gauge("drill_loss_seconds", "Seconds of writes that the last restore drill lacked.", *_PAIR)
        now_seconds = self._clock()
        for database in self._board.snapshot():
            for pair in database.destinations:
                labels = (database.name, pair.destination)
                # Not left out: an alert on it has to fire for a destination that never got anything.
                known_seconds = lag_seconds(pair, now_seconds)
                _add(lag, math.inf if known_seconds is None else known_seconds, *labels)
                _add(published, pair.last_publish_at_seconds, *labels)
                _add(backlog, pair.backlog_bytes, *labels)
                if pair.last_drill:
                    _add(drilled, pair.last_drill.at_seconds, *labels)
                    _add(loss, pair.last_drill.loss_seconds, *labels)
        return lag, published, backlog, drilled, loss

    def _pair_totals(self) -> Iterable[Metric]:
        uploaded = _counter("uploaded_bytes", "Bytes of database files that publishes sent.", *_PAIR)
        reused_files = _counter("reused_files", "Files that the destination had already.", *_PAIR)
        reused_bytes = _counter("reused_bytes", "Bytes of files that the destination had already.", *_PAIR)
        shipped = _counter("shipped_bytes", "Bytes of write-ahead log shipped between checkpoints.", *_PAIR)
        errors = _counter("transfer_errors", "Tries that failed, by kind of error.", *_PAIR, "kind")
        drill_failures = _counter("drill_failures", "Restore drills that failed.", *_PAIR)
        for labels, totals in self._board.pair_totals().items():
            uploaded.add_metric(labels, totals.uploaded_bytes)
            reused_files.add_metric(labels, totals.reused_files)
            reused_bytes.add_metric(labels, totals.reused_bytes)
            shipped.add_metric(labels, totals.shipped_bytes)
            drill_failures.add_metric(labels, totals.drill_failures)
            for kind, count in sorted(totals.errors.items()):
                errors.add_metric([*labels, kind], count)
        return uploaded, reused_files, reused_bytes, shipped, errors, drill_failures


class _MirrorCollector(Collector):
    def __init__(self, board: MirrorBoard) -> None:
        self._board = board

    def collect(self) -> Iterable[Metric]:
        backlog = _gauge("mirror_backlog_files", "Paths of a mirror that wait to be looked at.", *_MIRROR)
        compared = _gauge(
            "mirror_last_comparison_timestamp_seconds", "When everything was compared last.", *_MIRROR
        )
        delay = _gauge("mirror_delay_seconds", "From the first event to the destination, the last time.", *_MIRROR)
        failed = _gauge("mirror_failed_files", "Files that could not be mirrored.", *_MIRROR)
        refused = _gauge("mirror_refused_deletes", "Deletes that max_delete does not allow.", *_MIRROR)
        unwatched = _gauge("mirror_unwatched_folders", "Folders beyond the system's limit on watches.", *_MIRROR)
        files = _counter("mirror_files", "Files and links that were mirrored.", *_MIRROR)
        sent = _counter("mirror_sent_bytes", "Bytes of files that were mirrored.", *_MIRROR)
        deletes = _counter("mirror_deletes", "Files that were removed at the destination.", *_MIRROR)
        errors = _counter("mirror_errors", "Passes that failed in whole or in part, by kind.", *_MIRROR, "kind")
        for status in self._board.snapshot():
            labels = (status.mirror, status.destination)
            _add(backlog, status.backlog_files, *labels)
            _add(compared, status.last_comparison_at_seconds, *labels)
            _add(delay, status.last_delay_seconds, *labels)
            _add(failed, status.failed_files, *labels)
            _add(refused, status.refused_deletes, *labels)
            _add(unwatched, status.unwatched_folders, *labels)
            files.add_metric(labels, status.files)
            sent.add_metric(labels, status.sent_bytes)
            deletes.add_metric(labels, status.deletes)
            for kind, number in sorted(status.errors.items()):
                errors.add_metric([*labels, kind], number)
        return backlog, compared, delay, failed, refused, unwatched, files, sent, deletes, errors


def _gauge(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"replicator_{name}", documentation, labels=labels)


def _counter(name: str, documentation: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"replicator_{name}", documentation, labels=labels)


def _add(family: GaugeMetricFamily, value: float | None, *labels: str) -> None:
    if value is not None:
        family.add_metric(labels, value)


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    return list(zip(_BUCKETS, accumulate(durations.counts), strict=True))
