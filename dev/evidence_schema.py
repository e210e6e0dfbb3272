"""Writes docs/reference/evidence.schema.json, the JSON Schema of the messages on the results topic, from the code."""

import json
from pathlib import Path

from function.evidence.message import schema

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "evidence.schema.json"


def written() -> str:
    """Returns the text of the file."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    PAGE.write_text(written())
