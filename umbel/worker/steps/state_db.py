"""The step that knows what was revoked in the worker's earlier life."""

from __future__ import annotations

from umbel.model import node
from umbel.worker.revoked import Revoked
from umbel.worker.state_db import StateDB as StateFile
from umbel_kernel.step import Context, Step


class StateDB(Step):
    """Provides ``revoked``: what is not to run."""

    provides = ("revoked",)

    def start(self, context: Context) -> Revoked:
        """Make it, and read the state file, if one is named by ``--statedb`` or ``worker_state_db``.

        Raises:
            ConfigurationError: the file cannot be used.
        """
        revoked = Revoked()
        path = context.options.statedb or context.app.conf.worker_state_db
        if path:
            StateFile(node.expand(str(path), context.worker.hostname)).load(revoked)
        return revoked
