#!/usr/bin/python3
"""Watch the card and a port until SIGTERM, and write the observations to FILE as JSON: `lab-witness PORT FILE`.

`engines` is the largest number of engines that held memory at one moment. `seconds` is the longest time between two
answers on the port, and `answers` is the number of answers.
"""

import json
import signal
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

CARD = Path("/var/lib/lab/card")  # see lab/fake/card.py
EVERY_SECONDS = 0.02


def engines() -> int:
    """Return the number of live processes that hold memory of the card."""
    return sum(Path(f"/proc/{file.name}").exists() for file in CARD.glob("[0-9]*"))


def answers(port: int) -> bool:
    """Return whether an engine serves on the port."""
    line = HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        line.request("GET", "/v1/models")
        answer = line.getresponse()
        answer.read()  # otherwise the engine logs a broken connection
        return answer.status == 200
    except (OSError, HTTPException):
        return False
    finally:
        line.close()


def main(port: str, file: str) -> None:
    """Watch until SIGTERM, then write the file."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    most, longest, count, last = 0, 0.0, 0, time.monotonic()
    while not ended:
        most = max(most, engines())
        if answers(int(port)):
            count, longest, last = count + 1, max(longest, time.monotonic() - last), time.monotonic()
        time.sleep(EVERY_SECONDS)
    longest = max(longest, time.monotonic() - last)
    Path(file).write_text(json.dumps({"engines": most, "seconds": round(longest, 1), "answers": count}))


if __name__ == "__main__":
    main(*sys.argv[1:])
