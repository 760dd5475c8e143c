"""Result documents as the suites write them."""

from __future__ import annotations

import json
from typing import Any

from umbel_kernel.errors import DecodeError


def json_document(task_id: str, state: str, result: Any, fence: int = 0) -> bytes:
    """A result document in Celery's layout, as JSON, with the fence, where it has one, as umbel adds it."""
    document = {"status": state, "result": result, "traceback": None, "children": [], "task_id": task_id}
    if fence:
        document["fence"] = fence
    return json.dumps(document, ensure_ascii=False).encode()


def json_state_of(body: bytes) -> str:
    """The member ``status`` of a JSON document; for a backend's ``state_of``.

    Raises:
        DecodeError: it is no such document.
    """
    try:
        document = json.loads(body)
    except ValueError as error:
        raise DecodeError(f"a result document is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("status"), str):
        raise DecodeError("a result document has no status")
    return str(document["status"])
