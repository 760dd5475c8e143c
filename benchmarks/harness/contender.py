"""What a contender says of itself. Plain classes, because import time is one of the things measured."""

from __future__ import annotations


class Setup:
    """One way of running a contender's worker.

    `command` is the argument list; {bin} stands for the environment's folder of programs, {queue}, {redis}, {folder}
    and {name} for their values. `processes` such commands are started side by side. `brokers` says where the set-up is
    run, `measures` for what. `beside` names the contender and set-up it is compared with. `share` is the part of the
    tasks it is given, for those that would take minutes.
    """

    def __init__(
        self,
        label: str,
        command: list[str],
        *,
        brokers: tuple[str, ...],
        beside: str,
        processes: int = 1,
        measures: tuple[str, ...] = ("drain", "roundtrip", "footprint", "canvas"),
        share: float = 1.0,
    ) -> None:
        self.label = label
        self.command = command
        self.brokers = brokers
        self.beside = beside
        self.processes = processes
        self.measures = measures
        self.share = share


class Contender:
    """`acknowledges` names the brokers on which a killed worker loses nothing; `queues` and `exchanges` are
    what it declares on an AMQP server, with {queue} for the queue of tasks, so that they can be deleted after;
    `results_in_redis` names the other brokers with which it keeps results in Redis; `canvases` those on which it runs
    workflows, whose results are in Redis always."""

    def __init__(
        self,
        name: str,
        *,
        distributions: tuple[str, ...],
        setups: list[Setup],
        acknowledges: tuple[str, ...],
        enqueues: tuple[str, ...],
        queues: tuple[str, ...] = ("{queue}",),
        exchanges: tuple[str, ...] = (),
        results_in_redis: tuple[str, ...] = (),
        canvases: tuple[str, ...] = (),
        note: str = "",
    ) -> None:
        self.name = name
        self.distributions = distributions
        self.setups = setups
        self.acknowledges = acknowledges
        self.enqueues = enqueues
        self.queues = queues
        self.exchanges = exchanges
        self.results_in_redis = results_in_redis
        self.canvases = canvases
        self.note = note
