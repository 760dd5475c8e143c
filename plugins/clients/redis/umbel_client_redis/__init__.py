"""What everything of umbel that talks to a Redis server stands on; no plugin itself."""

from __future__ import annotations

from umbel_client_redis.address import Address
from umbel_client_redis.link import Link, Lost
from umbel_client_redis.resp import Command, Pushed
from umbel_client_redis.script import Script, run

__all__ = ["Address", "Command", "Link", "Lost", "Pushed", "Script", "run"]
