"""`python -m efficientnetv2.data.service`: starts a dispatcher or a worker."""

import sys

from efficientnetv2 import entry_point, startup

_ABOUT = """\
Starts a server of a tf.data service, which makes training pictures for others:
one dispatcher, and workers on as many machines as it takes.

  python -m efficientnetv2.data.service dispatcher --port=5050
  python -m efficientnetv2.data.service worker --dispatcher=HOST:5050 \\
      --address=OWN_HOST:5051
  python main.py --mode=train --data_service=grpc://HOST:5050 ...

The workers need the files of the data set at the same paths."""
_LAST_PORT = 65535


def _parser():
    parser = entry_point.FlagParser(
        usage="python -m efficientnetv2.data.service dispatcher|worker [flags]",
        description=_ABOUT,
    )
    add = parser.add_argument
    add("role", choices=("dispatcher", "worker"))
    add(
        "--port",
        metavar="N",
        type=int,
        default=5050,
        help="that the dispatcher listens at; 0: any that is free [5050]",
    )
    add(
        "--dispatcher",
        metavar="HOST:PORT",
        help="where the worker's dispatcher is",
    )
    add(
        "--address",
        metavar="HOST:PORT",
        help="how others reach the worker [localhost, any free port]",
    )
    add("--debug", action="store_true", help="print the traceback of an error")
    return parser


def _check(values):
    if not 0 <= values.port <= _LAST_PORT:
        raise ValueError(
            f"port must be >= 0 and <= {_LAST_PORT}. Received: {values.port}"
        )
    if values.role == "worker" and values.dispatcher is None:
        raise ValueError("a worker needs --dispatcher=HOST:PORT")
    for name in ("dispatcher", "address"):
        value = getattr(values, name)
        if value is None:
            continue
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > _LAST_PORT:
            raise ValueError(f"{name} must be HOST:PORT. Received: {value!r}")


def _run(argv):
    values = _parser().parse_args(argv[1:])
    _check(values)
    with startup.quiet():
        from efficientnetv2.data.service import servers
    if values.role == "dispatcher":
        server = servers.dispatcher(values.port)
        print(f"Dispatcher at {server.target}", flush=True)
    else:
        server = servers.worker(values.dispatcher, address=values.address)
        print(f"Worker of {values.dispatcher}", flush=True)
    server.join()
    return 0


if __name__ == "__main__":
    sys.exit(entry_point.run(_run, sys.argv))
