"""Reads remote TFRecords in blocks of neighbouring records."""

import collections
import concurrent.futures
import threading

import numpy as np

from efficientnetv2.data.sources.stored_bytes import read_piece

_BLOCK_BYTES = 8 << 20  # a request's latency is small against its transfer
_THREADS = 16


def number_blocks(files, offsets):
    """Divides records into blocks of about 8 MiB of a file.

    Args:
        files: Number of each record's file, rising, int array [n].
        offsets: Place of its data in the file, bytes, rising in a file.

    Returns:
        Number of each record's block, from 0 and rising, int64 array [n].
    """
    parts = np.stack([files, offsets // _BLOCK_BYTES], axis=1)  # [n, 2]
    new = np.any(parts[1:] != parts[:-1], axis=1)
    return np.concatenate([[0], np.cumsum(new)])


class RemoteBlocks:
    """The records of an index, read by the block.

    Args:
        index: A `record_index.RecordIndex`.
        memory_bytes: How much is kept for records whose turn is yet to come.
    """

    def __init__(self, index, memory_bytes):
        self._index = index
        self._memory_bytes = memory_bytes
        self.blocks = number_blocks(index.files, index.offsets)
        self._executor = concurrent.futures.ThreadPoolExecutor(_THREADS)
        self._lock = threading.Lock()
        self._loading = collections.OrderedDict()  # block: future

    def read(self, rows):
        """Reads records.

        Args:
            rows: Rows of the index, int array [k].

        Returns:
            A list of bytes, b"" for what cannot be read.
        """
        futures = [self._request(int(block)) for block in self.blocks[rows]]
        payloads = []
        for row, future in zip(rows.tolist(), futures, strict=True):
            start, data = future.result()
            begin = int(self._index.offsets[row]) - start
            payloads.append(data[begin : begin + int(self._index.lengths[row])])
        return payloads

    def _request(self, block):
        """A future of a block's place and bytes."""
        with self._lock:
            future = self._loading.get(block)
            if future is None:
                future = self._executor.submit(self._load, block)
                self._loading[block] = future
                most = max(2, self._memory_bytes // _BLOCK_BYTES)
                while len(self._loading) > most:
                    self._loading.popitem(last=False)
            else:
                self._loading.move_to_end(block)
            return future

    def _load(self, block):
        index = self._index
        first, last = np.searchsorted(self.blocks, [block, block + 1])
        start = int(index.offsets[first])
        end = int(index.offsets[last - 1] + index.lengths[last - 1])
        path = index.paths[int(index.files[first])]
        try:
            return start, read_piece(path, start, end - start)
        except OSError:
            return start, b""
