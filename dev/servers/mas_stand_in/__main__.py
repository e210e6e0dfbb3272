"""Serves the stand-in on loopback until it is stopped: `python -m dev.servers.mas_stand_in CONFIG.json PORT`."""

import json
import sys
from pathlib import Path

import uvicorn

from dev.servers.mas_stand_in.app import open_app
from dev.servers.mas_stand_in.state import Config


def main(file: str, port: str) -> None:
    config = Config(**json.loads(Path(file).read_text()))
    uvicorn.run(open_app(config), host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
