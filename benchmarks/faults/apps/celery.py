"""Celery, with the settings that its documentation recommends for tasks that must not be lost.

On Redis the visibility timeout is 10 s, somewhat longer than the longest task here, as documented: what a dead worker
held comes back by nothing else. On AMQP publishing waits for the server's confirm.
"""

from __future__ import annotations

from celery import Celery
from kombu import Queue

from faults import tasks
from faults.apps.place import BROKER, QUEUE, RESULTS, SETTINGS, SHARED, URL

_TRANSPORT = {"redis": {"visibility_timeout": 10}, "amqp": {"confirm_publish": True}}

app = Celery("faults", broker=URL, backend=RESULTS)
app.conf.update({**SHARED, "broker_transport_options": _TRANSPORT[BROKER], **SETTINGS})
app.conf.task_queues = [Queue(QUEUE, routing_key=QUEUE)]
tasks.define(app)
