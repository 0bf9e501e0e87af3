"""The command line, with every connection and name look-up that leaves this machine written down.

listening.py FILE WORDS...: an audit hook hears them below any library.
"""

from __future__ import annotations

import sys
from pathlib import Path

LOCAL = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "", None)
FILE = Path(sys.argv[1])
FILE.write_text("")


def hear(event: str, arguments: tuple) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if host not in LOCAL:
        with FILE.open("a") as out:
            out.write(f"{event.removeprefix('socket.')} {host}\n")


if __name__ == "__main__":
    sys.addaudithook(hear)
    sys.argv = ["stsprune", *sys.argv[2:]]
    from stsprune.cli import main

    main()
