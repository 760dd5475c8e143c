"""A server that the user has named. It is his, so it is never stopped."""

from __future__ import annotations

from harness.failure import Failure


class Given:
    private = False

    def __init__(self, url: str) -> None:
        self.url = url

    def stop(self) -> None:
        raise Failure("the server at --redis or --amqp is yours, and is not stopped")

    def start(self) -> None:
        raise Failure("the server at --redis or --amqp is yours, and is not started")

    def close(self) -> None:
        """Leave it alone."""
