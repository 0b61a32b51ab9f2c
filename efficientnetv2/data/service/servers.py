"""The servers of a tf.data service."""

import errno
import os
import socket

import tensorflow as tf

from efficientnetv2.data.service import batches


def _check_free(port):
    """Raises OSError for a port in use: gRPC would share it."""
    with socket.socket() as probe:
        # Connections of a server that was killed are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = os.strerror(error.errno)
                raise OSError(f"port {port}: {reason}") from None
            raise


def dispatcher(port):
    """Starts the server that deals out work.

    Args:
        port: That it listens at; 0: any that is free.

    Returns:
        A `tf.data.experimental.service.DispatchServer`.

    Raises:
        OSError: if it cannot listen there.
    """
    _check_free(port)
    try:
        return tf.data.experimental.service.DispatchServer(
            tf.data.experimental.service.DispatcherConfig(port=port)
        )
    except (tf.errors.OpError, RuntimeError) as error:
        raise OSError(f"no dispatcher at port {port}: {error}") from None


def worker(dispatcher_address, *, address=None):
    """Starts a server that makes pictures.

    Args:
        dispatcher_address: Where the dispatcher is, host:port.
        address: How others reach it, host:port; None: localhost, any port.

    Returns:
        A `tf.data.experimental.service.WorkerServer`.

    Raises:
        OSError: if it cannot listen there, or there is no dispatcher.
    """
    batches.check_address(dispatcher_address)
    port = int(address.rpartition(":")[2]) if address else 0
    _check_free(port)
    try:
        return tf.data.experimental.service.WorkerServer(
            tf.data.experimental.service.WorkerConfig(
                dispatcher_address=dispatcher_address,
                worker_address=address,
                port=port,
            )
        )
    except (tf.errors.OpError, RuntimeError) as error:
        raise OSError(f"no worker at {address}: {error}") from None
