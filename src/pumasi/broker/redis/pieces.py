"""Log records as they are kept: the seq and the time, the length of the stream's name, the name, the data."""

import struct

from pumasi.core.job import Record

#: seqs sort as their bytes do
_HEAD = struct.Struct(">QdB")


def piece(record: Record) -> bytes:
    """A record as it is kept."""
    stream = record.stream.encode()
    return _HEAD.pack(record.seq, record.time, len(stream)) + stream + record.data


def record_of(kept: bytes) -> Record:
    """The record that is kept so."""
    seq, at, length = _HEAD.unpack_from(kept)
    data = _HEAD.size + length
    return Record(seq, at, kept[_HEAD.size : data].decode(), kept[data:])


def seq_bytes(seq: int) -> bytes:
    """With what the piece of that seq begins."""
    return seq.to_bytes(8, "big")
