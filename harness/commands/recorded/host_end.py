"""The other end of `harness check --on`: runs in the host's interpreter, which execnet sends this text to.

It needs the standard library only. It starts one shard of the run and sends the lines of its records as they come.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_TAIL = 2000


def main(channel: Any) -> None:
    """Receive what to run; send each line of its standard output, then its exit code and the end of its errors."""
    order: dict[str, Any] = channel.receive()
    if order["folder"] and Path(order["folder"]).is_dir():
        os.chdir(order["folder"])
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        durations = Path(folder, "durations.json")
        durations.write_text(order["durations"], "utf-8")
        command = [sys.executable, "-m", "harness", *order["arguments"], "--durations", str(durations)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | order["environment"],
            text=True,
            encoding="utf-8",
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                channel.send(line)
        finally:  # where the channel is closed, nobody wants the rest
            process.stdout.close()
            process.terminate()
        code = process.wait()
        errors.seek(0)
        channel.send({"code": code, "errors": errors.read().decode(errors="replace")[-_TAIL:]})


if __name__ == "__channelexec__":
    main(globals()["channel"])
