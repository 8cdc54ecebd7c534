"""Protocols as data: samples, joints and alignment, one file per protocol."""

from hemlets.evaluation.protocols.protocol import (
    Column,
    GroupTable,
    Measure,
    Protocol,
    load_protocol,
    plain_word,
    protocol_names,
    split_protocol,
)

__all__ = [
    "Column",
    "GroupTable",
    "Measure",
    "Protocol",
    "load_protocol",
    "plain_word",
    "protocol_names",
    "split_protocol",
]
