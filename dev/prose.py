"""Checks the English of the repository: lists each line that uses a word from `WORDS`, with what to write instead.

`make check` runs it over the code, the pages and the manifests. It finds words, not bad sentences: those are for review.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
KINDS = {".py", ".md", ".yaml", ".toml", ".sh"}
NAMED = {"Makefile", "Dockerfile", "run"}

WORDS = {  # a regular expression, and what to write instead
    r"sick": "failing, unavailable",
    r"unwell|is well|are well|not well|well again": "healthy, failing",
    r"the world|broken world|world's": "a dependency, dependencies",
    r"mend(?:s|ed|ing)?": "fix, repair",
    r"anew": "again, from scratch",
    r"for ever": "forever, without end, in a loop",
    r"nobody|no-?body else": "no one, or name the component",
    r"somebody(?: else)?": "another client, a person",
    r"strangers?": "another client, an unknown account, the producer",
    r"beside": "next to, alongside, with",
    r"besides": "also, in addition",
    r"one that|one who|ones that": "name the thing again",
    r"so many|so often|so long ago": "a number, how many",
    r"such as it is|as it should be": "name the state",
    r"comes? to (?:its|an) end|came to (?:its|an) end": "ends, is processed",
    r"the road": "the path, the pipeline",
    r"enem(?:y|ies)": "untrusted input, an attacker",
    r"spoil(?:t|ed|s|ing)?": "corrupt, break",
    r"his|hers": "their",
    r"whoever|whosoever": "the caller, the client",
    r"see(?:s)? to it": "ensure",
    r"patien(?:ce|t)": "timeout, limit",
    r"by and by|meanwhile": "in the meantime: say when",
    r"is fit to": "can",
    r"comes? alone|is alone": "name the condition",
    r"and the like|and so forth": "name the rest",
    r"looks? at everything": "verify, check",
    r"at night": "on call",
    r"in vain": "without effect",
    r"theft of": "stolen",
}
_WORD = re.compile(rf"(?<![\w/.-])(?:{'|'.join(WORDS)})(?![\w-])", re.IGNORECASE)


def advice(word: str) -> str:
    """Returns what to write instead of `word`."""
    return next(instead for pattern, instead in WORDS.items() if re.fullmatch(pattern, word, re.IGNORECASE))


def findings(text: str) -> Iterator[tuple[int, str]]:
    """Yields line number and word for each listed word in `text`."""
    for number, line in enumerate(text.splitlines(), start=1):
        for match in _WORD.finditer(line):
            yield number, match[0]


def checked_files() -> list[Path]:
    """Returns the files under version control that people read, without the word list and its test."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    files = [ROOT / name for name in listed if name and "go/" not in name and "prose" not in name]
    return [file for file in files if (file.suffix in KINDS or file.name in NAMED) and file.is_file()]


def main(paths: list[str]) -> int:
    """Prints the findings; only those below `paths` where some are given. Returns the exit code."""
    wanted = [(ROOT / path).resolve() for path in paths] or [ROOT]
    count = 0
    for file in checked_files():
        if not any(file == path or path in file.parents for path in wanted):
            continue
        for number, word in findings(file.read_text()):
            count += 1
            print(f"{file.relative_to(ROOT)}:{number}: “{word}”: write {advice(word)}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
