"""Workflows: calls of tasks as data, one after another, side by side, and one after many."""

from umbel.canvas.chain import _chain, chain
from umbel.canvas.chord import _chord, chord
from umbel.canvas.chunks import chunks
from umbel.canvas.group import group
from umbel.canvas.mapping import xmap, xstarmap
from umbel.canvas.signature import Signature, maybe_signature, signature
from umbel.canvas.stamping import StampingVisitor

subtask = signature
maybe_subtask = maybe_signature

__all__ = [
    "Signature",
    "StampingVisitor",
    "_chain",
    "_chord",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "maybe_subtask",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]
