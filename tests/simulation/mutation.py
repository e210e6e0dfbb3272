"""A fault that is put into the code on purpose, for the time of a run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

Change = tuple[Any, str, Callable[[Any], Any]]  # a class or module, an attribute, and what to make of it


@dataclass(frozen=True, slots=True)
class Mutation:
    """A fault on purpose.

    Attributes:
        name: the kind in the faults table, and a word.
        means: what the changed code does.
        changes: what is swapped for the time of a run.
        rules: the rules of which it breaks at least one.
        mas: whether it shows only where Matrix Authentication Service owns the accounts.
    """

    name: str
    means: str
    changes: Sequence[Change]
    rules: tuple[str, ...]
    mas: bool = False

    def patch(self) -> AbstractContextManager[object]:
        """Changes the code until the block ends."""
        return _patched(self.changes)


@contextmanager
def _patched(changes: Sequence[Change]) -> Iterator[None]:
    with ExitStack() as undo:
        for owner, name, changed in changes:
            original = getattr(owner, name)
            undo.callback(setattr, owner, name, original)
            setattr(owner, name, changed(original))
        yield
