"""TensorBoard's event files, written without the tensorboard package.

`tf.summary.scalar` imports that package, which TensorFlow no longer brings. An
event file is a TFRecord file of `Event` messages, and those TensorFlow has.
"""

import os
import socket
import time

import numpy as np

from efficientnetv2 import storage


class EventFile:
    """One file of a run's events; every start of the run has its own.

    Args:
        folder: Folder that TensorBoard is pointed at.
        first_step: Steps done already: TensorBoard forgets what an earlier
            file says of later steps, for they are done again.
    """

    def __init__(self, folder, *, first_step):
        import tensorflow as tf

        self._tf = tf
        storage.make_folder(folder)
        name = (
            f"events.out.tfevents.{int(time.time()):010d}."
            f"{socket.gethostname()}.{os.getpid()}"
        )
        path = str(storage.join(folder, name))
        self._writer = tf.io.TFRecordWriter(path)
        self._write(file_version="brain.Event:2")
        start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
        self._write(step=first_step + 1, session_log=start)

    def _write(self, **fields):
        event = self._tf.compat.v1.Event(wall_time=time.time(), **fields)
        self._writer.write(event.SerializeToString())

    def _write_values(self, values, step):
        summary = self._tf.compat.v1.Summary(value=values)
        self._write(step=step, summary=summary)
        self._writer.flush()

    def scalars(self, figures, step):
        """Writes numbers.

        Args:
            figures: Dict from tag to number.
            step: Global step.
        """
        value = self._tf.compat.v1.Summary.Value
        self._write_values(
            [value(tag=t, simple_value=float(f)) for t, f in figures.items()],
            step,
        )

    def images(self, tag, images, step):
        """Writes pictures, each under its own number.

        Args:
            tag: Name of the group.
            images: uint8 [count, height, width, 3].
            step: Global step.
        """
        tf = self._tf
        images = np.asarray(images)
        values = []
        for number, image in enumerate(images):
            height, width, depth = image.shape
            picture = tf.compat.v1.Summary.Image(
                height=height,
                width=width,
                colorspace=depth,
                encoded_image_string=tf.io.encode_png(image).numpy(),
            )
            values.append(
                tf.compat.v1.Summary.Value(
                    tag=f"{tag}/image/{number}", image=picture
                )
            )
        self._write_values(values, step)

    def text(self, tag, markdown, step):
        """Writes a text.

        Args:
            tag: Its name.
            markdown: The text.
            step: Global step.
        """
        tf = self._tf
        metadata = tf.compat.v1.SummaryMetadata()
        metadata.plugin_data.plugin_name = "text"
        value = tf.compat.v1.Summary.Value(
            tag=tag,
            metadata=metadata,
            tensor=tf.make_tensor_proto(markdown.encode()),
        )
        self._write_values([value], step)

    def close(self):
        """Closes the file."""
        self._writer.close()
