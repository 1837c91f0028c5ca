"""The API in processes that are forked from one that has imported it: a killed one has its successor in a moment.

Run as ``python -m tests.support.forking_api PORT``; prints the id of each process that serves.
"""

import os
import socket
import sys

import uvicorn

from app import create_app


def main(port: int) -> None:
    """Serve from one child after another, each until it dies."""
    app = create_app()
    with socket.create_server(("127.0.0.1", port), backlog=256) as listening:
        while True:
            child = os.fork()
            if child == 0:
                configuration = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False)
                uvicorn.Server(configuration).run(sockets=[listening])
                os._exit(0)
            print(child, flush=True)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
