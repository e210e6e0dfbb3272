"""The version is that of the git tag, wherever it is needed."""

import pytest

from dev.release.version import Version


@pytest.mark.parametrize(
    ("python", "semantic", "image_tag"),
    [
        ("0.2.0", "0.2.0", "0.2.0"),
        ("1.0.0rc1", "1.0.0-rc.1", "1.0.0-rc.1"),
        ("1.2", "1.2.0", "1.2.0"),
        ("0.2.1.dev3+g1a2b3c4", "0.2.1-dev.3+g1a2b3c4", "0.2.1-dev.3-g1a2b3c4"),
    ],
)
def test_charts_and_images_have_the_version_in_their_own_form(python: str, semantic: str, image_tag: str) -> None:
    version = Version(python)
    assert (version.semantic, version.image_tag) == (semantic, image_tag)


@pytest.mark.parametrize(
    ("python", "is_release"),
    [("0.2.0", True), ("0.2.0rc1", True), ("0.2.1.dev3+g1a2b3c4", False), ("0.2.0+d20260101", False)],
)
def test_only_a_commit_with_a_tag_is_a_release(python: str, is_release: bool) -> None:
    assert Version(python).is_release is is_release
