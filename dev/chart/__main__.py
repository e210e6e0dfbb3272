"""`make chart`: writes the generated files of the Helm chart, k8s/chart, from the kustomize files."""

from dev.chart.files import CHART, generated


def main() -> None:
    files = generated()
    for name, text in files.items():
        file = CHART / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    known = {CHART / name for name in files}
    for file in (CHART / "templates").rglob("*.yaml"):
        if file not in known:
            file.unlink()


if __name__ == "__main__":
    main()
