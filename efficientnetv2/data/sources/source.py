"""What every source of pictures has in common."""

import abc

import numpy as np
import tensorflow as tf

from efficientnetv2.data import decoding, order


class Source(abc.ABC):
    """Numbered examples: a payload for each number and how to read it.

    A payload is what is stored for an example, bytes: a serialized example or
    a picture file. Any example can be read at any time, so that an order is
    nothing but a list of numbers and skipping costs nothing.

    Attributes:
        name: For messages, such as 'cifar10/train'.
        num_examples: Number of examples; they are numbered 0, 1, ...
        class_names: A name for each class, tuple of strings.
        multi_label: Whether labels are float32 [classes], not int32.
    """

    name: str
    num_examples: int
    class_names: tuple[str, ...]
    multi_label: bool = False

    @property
    def num_classes(self):
        """Number of classes."""
        return len(self.class_names)

    @abc.abstractmethod
    def read(self, numbers):
        """Reads payloads; safe to call from several threads at once.

        Args:
            numbers: int64 array [k], each in 0 .. num_examples - 1.

        Returns:
            A list of k bytes objects, b"" for what cannot be read.
        """

    @abc.abstractmethod
    def parse(self, payload, number):
        """Takes a payload apart; graph ops.

        Args:
            payload: string scalar.
            number: int64 scalar, the example's number.

        Returns:
            The encoded picture, string scalar, and the label, int32 scalar
            from 0, or float32 [classes], 1 for each label, with
            `multi_label`. Of an example whose label is not usable the picture
            is empty, so that it fails as one that is broken.
        """

    @abc.abstractmethod
    def place(self, number):
        """Where an example is stored, for a person: a file, a record."""

    @abc.abstractmethod
    def files(self):
        """Where the examples are: a dict from path to places in the file."""

    @abc.abstractmethod
    def graph_reader(self, first, end):
        """Reads some of the examples without Python.

        Args:
            first: Number of the first example.
            end: The one behind the last.

        Returns:
            A `graph_reader.GraphReader`.
        """

    def order(self, seed, epoch):
        """The order in which an epoch reads the examples.

        Args:
            seed: The run's, int >= 0.
            epoch: Int >= 0.

        Returns:
            Each number once, int array [num_examples], not to be written to.
        """
        return order.shuffled(self.num_examples, seed, epoch)

    def explain(self, number):
        """Says what is wrong with an example.

        Args:
            number: The example's number.

        Returns:
            A few words; None if it can be read.
        """
        payload = tf.constant(self.read(np.array([number]))[0])
        if payload == b"":
            return "cannot be read, or empty"
        try:
            encoded, _ = self.parse(payload, tf.constant(number, tf.int64))
        except tf.errors.OpError:
            encoded = b""
        if encoded == b"":
            return self._why_unusable(payload)
        try:
            decoding.decode(encoded)
        except tf.errors.OpError:
            return "not a picture that can be decoded"
        return None

    def _why_unusable(self, payload):
        """Why `parse` finds no picture in a payload: a few words."""
        del payload
        return "no picture in it"
