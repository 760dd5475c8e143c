"""The worker's bootsteps, one in each file."""

from __future__ import annotations

from umbel.worker.steps.autoscaler import Autoscaler
from umbel.worker.steps.connection import Connection
from umbel.worker.steps.consumer import Consumer
from umbel.worker.steps.control import Control
from umbel.worker.steps.heartbeat import Heartbeat
from umbel.worker.steps.loop import Loop
from umbel.worker.steps.pool import Pool
from umbel.worker.steps.state_db import StateDB
from umbel.worker.steps.tasks import Tasks
from umbel.worker.steps.timer import Timer

WORKER_STEPS = (StateDB, Timer, Pool, Loop, Autoscaler, Consumer)
CONSUMER_STEPS = (Connection, Heartbeat, Control, Tasks)
