"""Picture files, each with the number of its class."""

import concurrent.futures

import numpy as np
import tensorflow as tf

from efficientnetv2.data.sources.graph_reader import FileReader
from efficientnetv2.data.sources.source import Source
from efficientnetv2.data.sources.stored_bytes import read_file
from efficientnetv2.storage import is_remote

_REMOTE_READS = 64  # at once; each waits for the network
_WHOLE = np.zeros(1, np.int64)


class FileSource(Source):
    """Examples in files of their own.

    Args:
        name: For messages.
        paths: The files; may be remote.
        labels: The number of each file's class.
        class_names: A name for each class.
    """

    def __init__(self, name, paths, labels, *, class_names):
        self.name = name
        self.paths = tuple(paths)
        self.labels = np.array(labels, np.int32)
        self.class_names = tuple(class_names)
        self.num_examples = len(self.paths)
        self._executor = None
        if any(map(is_remote, self.paths)):
            self._executor = concurrent.futures.ThreadPoolExecutor(
                _REMOTE_READS
            )

    def read(self, numbers):
        run = map if self._executor is None else self._executor.map
        return list(run(self._read_one, np.asarray(numbers).tolist()))

    def _read_one(self, number):
        try:
            return read_file(self.paths[number])
        except OSError:
            return b""

    def parse(self, payload, number):
        return payload, tf.gather(tf.constant(self.labels), number)

    def files(self):
        return dict.fromkeys(self.paths, _WHOLE)

    def place(self, number):
        return self.paths[number]

    def graph_reader(self, first, end):
        return FileReader(self.paths[first:end], first)
