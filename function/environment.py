"""Reads the settings from the environment, once at the start, and tells every wrong, missing or mistyped variable at once."""

import difflib
import os
import re
from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError

from function.settings import SECRET_KEYS, CommonSettings, Settings

# Kubernetes sets these variables for every Service of a namespace; they are not settings.
_SERVICE_LINK = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")
# Set by the local stack for scripts; not a setting.
_STACK = frozenset({"MATRIX_ADMIN_TOKEN_FILE"})
_OURS = re.compile(r"(MATRIX|KAFKA|SECRET|STATE_STORE|PUBSUB|DEAD_LETTERS|AVATAR|APP|LOG)(_.*)?")


class WrongSettings(Exception):
    """Settings that prevent the start; `problems` has a line for each, with the variable and the value that it expects."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


Kind = TypeVar("Kind", bound=CommonSettings)


def load(kind: type[Kind]) -> Kind:
    """Reads the environment of the process.

    Args:
        kind: the class of settings: the function needs all of them, its tools fewer.

    Raises:
        WrongSettings: a value is wrong or missing, or the name of a variable is mistyped.
    """
    problems = _mistyped(os.environ)
    try:
        settings = kind()  # type: ignore[call-arg]  # the environment fills it
    except ValidationError as error:
        raise WrongSettings(problems + [_problem(dict(e)) for e in error.errors(include_input=False)]) from None
    if problems:
        raise WrongSettings(problems)
    return settings


def _problem(error: dict[str, object]) -> str:
    location = error["loc"]
    name = str(location[0]).upper() if isinstance(location, tuple) and location else ""
    if error["type"] == "missing":
        field = Settings.model_fields[name.lower()]
        return f"{name}: is not set; expected {field.description}"
    text = str(error["msg"]).removeprefix("Value error, ")
    return f"{name}: {text}" if name else text


def _mistyped(environment: Mapping[str, str]) -> list[str]:
    known = {name.upper() for name in Settings.model_fields}
    problems = []
    for name in environment:
        if name in _STACK or _SERVICE_LINK.fullmatch(name):
            continue
        if name in SECRET_KEYS:
            problems.append(f"{name}: must not be in the environment; put it in the secret that SECRET_NAME names")
        elif name.upper() not in known and _OURS.fullmatch(name.upper()):
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.8)
            if near:
                problems.append(f"{name}: is not a setting; did you mean {near[0]}?")
            elif name.upper().startswith("MATRIX_"):
                problems.append(f"{name}: is not a setting; the README lists them")
    return problems
