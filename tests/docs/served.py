"""One process that has imported everything runs `equiaudit` many times, in a fork each time.

python served.py SOCKET         serves
python served.py SOCKET ARG...  runs `equiaudit ARG...` with this process's folder and streams
"""

import json
import os
import socket
import sys


def ask(path: str, argv: list[str]) -> int:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        asked = json.dumps([os.getcwd(), dict(os.environ), argv]).encode()
        socket.send_fds(line, [len(asked).to_bytes(4, "big")], [0, 1, 2])
        line.sendall(asked)
        return int(line.makefile().read() or 70)


def serve(path: str) -> None:
    import equiaudit.api.fixing
    import equiaudit.audit.engine
    import equiaudit.models.loading
    import equiaudit.repair.pipeline  # noqa: F401

    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen()
        print("ready", flush=True)
        while True:
            line, _ = door.accept()
            with line:
                line.sendall(str(in_a_fork(line)).encode())


def in_a_fork(line: socket.socket) -> int:
    head, streams, _, _ = socket.recv_fds(line, 4, 3)
    folder, environment, argv = json.loads(
        line.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
    )
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = run(folder, environment, argv, streams)
        finally:
            os._exit(code)
    for stream in streams:
        os.close(stream)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(folder: str, environment: dict[str, str], argv: list[str], streams: list[int]) -> int:
    from equiaudit.cli import main

    for kind, stream in enumerate(streams):
        os.dup2(stream, kind)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder  # as `python -m` has it
    code = main(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    if sys.argv[2:]:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
    serve(sys.argv[1])
