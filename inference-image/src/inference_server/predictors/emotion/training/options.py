"""What a training run of the emotion classifier is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """What a training run is asked for.

    Attributes:
        name: the model's name.
        version: the artefacts' version.
        encoder: ``hashing:DIM`` or a directory made by ``training.build_encoder``.
        finetune: ``auto`` (from :data:`pipeline.FINETUNE_ROWS` rows on), ``always`` or ``never``.
        epochs: of fine-tuning; ``None`` for the default.
        lexical: whether n-grams are learned beside the embedding.
        serve_encoder: another encoder for the manifest to name than the heads are trained on. Where its
            dimension differs, every prediction is a dimension mismatch: for rehearsing a rollback.
        copy_encoder: put the encoder into the artefacts (else they name it by its absolute path).
        precision: ``int8`` or ``float32``: of a fine-tuned encoder.
        serving: settings that the manifest asks of the predictor.
        seed: of every random choice.
    """

    name: str = "emotion"
    version: str = "1.0"
    encoder: str = "hashing:384"
    finetune: str = "auto"
    epochs: int | None = None
    lexical: bool = True
    serve_encoder: str | None = None
    copy_encoder: bool = True
    precision: str = "int8"
    serving: dict[str, float] = field(default_factory=dict)
    seed: int = 42
