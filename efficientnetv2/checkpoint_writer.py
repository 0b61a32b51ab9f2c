"""Writes checkpoints in the background; training waits for a copy only."""

import logging
import os
import queue
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from efficientnetv2 import checkpoint_files, storage


class Writer:
    """A thread that writes snapshots, one after the other.

    Args:
        folder: Folder of the checkpoints; what a killed run left unfinished
            there is removed.
        keep: Number of checkpoints that stay, >= 1.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, keep: int = 5
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep must be >= 1. Received: {keep}")
        self.folder = folder
        self.keep = keep
        for name in storage.names(folder):
            if name.endswith(storage.TEMPORARY):
                storage.remove(storage.join(folder, name))
        self._error: Exception | None = None
        self._queue = queue.Queue(maxsize=1)  # at most one snapshot waits
        self._thread = threading.Thread(
            target=self._work, name="checkpoint writer", daemon=True
        )
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        # An error of the run itself says more than one of the disk.
        self.close(quiet=kind is not None)

    def _work(self):
        while (job := self._queue.get()) is not None:
            step, arrays, meta, best = job
            try:
                path = checkpoint_files.save(
                    self.folder, step, arrays, meta, keep=self.keep
                )
                if best:
                    checkpoint_files.mark_best(self.folder, path)
            except Exception as error:  # told at the next submit or close
                self._error = error
            del job, arrays  # the snapshot's memory, before the next arrives

    def submit(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
        *,
        best: bool = False,
    ) -> None:
        """Hands a snapshot over; waits only while an earlier one waits.

        Args:
            step: Global step.
            arrays: What `checkpoint.snapshot` returned.
            meta: Dict that JSON can hold.
            best: Whether to keep it as the best one too.

        Raises:
            CheckpointError: if an earlier one could not be written.
        """
        self._raise()
        self._queue.put((step, arrays, dict(meta), best))

    def close(self, *, quiet: bool = False) -> None:
        """Waits until all is written.

        Args:
            quiet: Log what went wrong instead of raising it.

        Raises:
            CheckpointError: if one could not be written.
        """
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        if not quiet:
            self._raise()
        elif self._error is not None:
            logging.getLogger(__name__).error("%s", self._error)

    def _raise(self):
        error, self._error = self._error, None
        if error is not None:
            raise error
