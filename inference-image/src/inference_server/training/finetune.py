"""Fine-tuning of a BERT encoder for classification, on CPUs, in JAX.

All transformer layers learn, lower ones slower; the embedding table stays as it is (its updates cost much
memory traffic and little is lost). The classifier reads the unit-length embedding that the exported encoder
gives, so what is learned here is served unchanged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from inference_server.training.bert import BertConfig, Params, embed, pool, transformer
from inference_server.training.scores import macro_f1
from inference_server.training.token_batches import Batch, Tokens, batches, bucket

_ADAM = (0.9, 0.999, 1e-8)
_SCALE = 16.0
"""Unit-length embeddings have small coordinates; scaled, the classifier learns at the encoder's pace."""

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig:
    """How an encoder is fine-tuned.

    Attributes:
        epochs: passes over the training rows.
        batch: rows per step.
        learning_rate: of the top layer at its peak.
        head_learning_rate: of the classifier at its peak.
        layer_decay: each lower layer learns by this factor slower.
        frozen_layers: lowest layers that do not learn at all.
        dropout: share of residual values dropped, 0..1.
        token_dropout: share of tokens replaced by ``[MASK]``, 0..1.
        label_smoothing: probability mass spread over all labels.
        class_balance: loss weights are class frequencies to the power of minus this.
        fine_weight: weight of the loss on finer labels, where the data have them.
        weight_decay: of AdamW.
        averaging: share of the steps over which weights are averaged at the end.
        max_tokens: longer rows are cut.
        seed: of every random choice.
    """

    epochs: int = 3
    batch: int = 32
    learning_rate: float = 1.5e-4
    head_learning_rate: float = 2e-3
    layer_decay: float = 0.85
    frozen_layers: int = 0
    dropout: float = 0.1
    token_dropout: float = 0.05
    label_smoothing: float = 0.05
    class_balance: float = 0.5
    fine_weight: float = 0.3
    weight_decay: float = 0.01
    averaging: float = 0.15
    max_tokens: int = 64
    seed: int = 42


@dataclass(frozen=True, kw_only=True, slots=True)
class Finetuned:
    """What fine-tuning gives.

    The encoder, the classifier on unit-length embeddings, and dev macro-F1 by epoch.
    """

    params: Params
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    history: list[float]


class _Trainer:
    """Holds compiled functions and the state of one run."""

    def __init__(
        self, params: Params, config: BertConfig, settings: FinetuneConfig, sizes: tuple[int, int]
    ) -> None:
        self.config = config
        self.settings = settings
        self.embeddings = jax.tree.map(jnp.asarray, params["embeddings"])
        layers = jax.tree.map(jnp.asarray, params["layers"])
        self.frozen = layers[: settings.frozen_layers]
        labels, fine = sizes
        rng = np.random.default_rng(settings.seed)

        def head(width: int) -> Params:
            weights = rng.normal(0.0, 0.02, (config.hidden, width)).astype(np.float32)
            return {"w": jnp.asarray(weights), "b": jnp.zeros(width, jnp.float32)}

        self.learned: Params = {
            "layers": layers[settings.frozen_layers :],
            "head": head(labels),
            "fine": head(fine),
        }
        self.rates = self._relative_rates()
        zeros = jax.tree.map(jnp.zeros_like, self.learned)
        self.state = (zeros, jax.tree.map(jnp.zeros_like, self.learned))
        self.step = jax.jit(self._step, donate_argnums=(0, 1))
        self.embed_rows = jax.jit(self._embed_rows)

    def _relative_rates(self) -> Params:
        settings = self.settings
        count = len(self.learned["layers"])
        head = settings.head_learning_rate / settings.learning_rate
        scaled = [
            jax.tree.map(lambda _, power=count - 1 - index: settings.layer_decay**power, layer)
            for index, layer in enumerate(self.learned["layers"])
        ]
        heads = {name: jax.tree.map(lambda _: head, self.learned[name]) for name in ("head", "fine")}
        return {"layers": scaled, **heads}

    def _hidden(self, learned: Params, ids: Any, mask: Any, key: Any) -> Any:
        x = embed(self.embeddings, ids, self.config)
        x = transformer(x, mask, self.frozen, self.config)
        dropout = None if key is None else (self.settings.dropout, key)
        return pool(transformer(x, mask, learned["layers"], self.config, dropout=dropout), mask)

    def _loss(self, learned: Params, batch: tuple[Any, ...], key: Any) -> Any:
        ids, mask, labels, fine, weights = batch
        vectors = self._hidden(learned, ids, mask, key) * _SCALE
        logits = jax.nn.log_softmax(vectors @ learned["head"]["w"] + learned["head"]["b"])
        smoothing = self.settings.label_smoothing
        target = jax.nn.one_hot(labels, logits.shape[1]) * (1.0 - smoothing) + smoothing / logits.shape[1]
        loss = -jnp.sum(weights * jnp.sum(target * logits, axis=1))
        if fine.shape[1]:
            finer = jax.nn.log_softmax(vectors @ learned["fine"]["w"] + learned["fine"]["b"])
            loss -= self.settings.fine_weight * jnp.sum(weights * jnp.sum(fine * finer, axis=1))
        return loss / ids.shape[0]

    def _step(self, learned: Params, state: Any, batch: Any, key: Any, rate_and_count: Any) -> Any:
        rate, count = rate_and_count
        loss, gradient = jax.value_and_grad(self._loss)(learned, batch, key)
        norm = jnp.sqrt(sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(gradient)))
        clip = jnp.minimum(1.0, 1.0 / (norm + 1e-6))
        first, second, epsilon = _ADAM
        mean = jax.tree.map(lambda m, g: first * m + (1 - first) * clip * g, state[0], gradient)
        square = jax.tree.map(lambda v, g: second * v + (1 - second) * (clip * g) ** 2, state[1], gradient)
        decay = self.settings.weight_decay

        def move(value: Any, m: Any, v: Any, relative: float) -> Any:
            direction = (m / (1 - first**count)) / (jnp.sqrt(v / (1 - second**count)) + epsilon)
            shrink = decay if value.ndim > 1 else 0.0
            return value - rate * relative * (direction + shrink * value)

        return jax.tree.map(move, learned, mean, square, self.rates), (mean, square), loss

    def _embed_rows(self, learned: Params, ids: Any, mask: Any) -> Any:
        return self._hidden(learned, ids, mask, None)

    def embed_all(self, learned: Params, rows: Tokens) -> NDArray[np.float32]:
        """Return unit-length embeddings ``(rows, hidden)`` without dropout."""
        result = np.zeros((len(rows.ids), self.config.hidden), np.float32)
        order = np.argsort([bucket(len(ids)) for ids in rows.ids], kind="stable")
        done = 0
        uniform = np.ones(int(rows.labels.max()) + 1, np.float32)
        for batch in batches(rows, order, self.settings.batch, 0, uniform):
            count = int((batch.weights > 0).sum())
            vectors = np.asarray(self.embed_rows(learned, batch.ids, batch.mask))
            result[order[done : done + count]] = vectors[:count]
            done += count
        return result


def _class_weights(labels: NDArray[np.int32], classes: int, power: float) -> NDArray[np.float32]:
    counts = np.maximum(np.bincount(labels, minlength=classes), 1).astype(np.float64)
    weights = counts**-power
    return np.asarray(weights * len(labels) / (weights * counts).sum(), np.float32)


def _schedule(step: int, total: int) -> float:
    """Return share of the peak rate: a linear rise over 6 % of the steps, then a linear fall to 2 %."""
    rise = max(1, round(0.06 * total))
    if step < rise:
        return (step + 1) / rise
    return max(0.02, (total - step) / max(1, total - rise))


def finetune(
    params: Params,
    config: BertConfig,
    data: tuple[Tokens, Tokens],
    classes: int,
    settings: FinetuneConfig,
    progress: Progress,
) -> Finetuned:
    """Fine-tune an encoder and a classifier on it.

    Args:
        params: the encoder to start from.
        config: its shape.
        data: rows to learn from and rows to choose the best epoch by.
        classes: number of labels.
        settings: see :class:`FinetuneConfig`.
        progress: called with a sentence about every hundred steps and after each epoch.

    Returns:
        the state after the epoch with the highest macro-F1 on the second part of ``data``. The same arguments
        on the same machine give the same arrays.
    """
    train, dev = data
    fine_size = 0 if train.fine is None else train.fine.shape[1]
    trainer = _Trainer(params, config, settings, (classes, fine_size))
    run = _Run(trainer, train, dev, classes, progress)
    for epoch in range(settings.epochs):
        run.epoch(epoch)
    best = run.best
    layers = [*trainer.frozen, *best["layers"]]
    return Finetuned(
        params=jax.tree.map(np.asarray, {"embeddings": trainer.embeddings, "layers": layers}),
        weights=np.asarray(best["head"]["w"]) * np.float32(_SCALE),
        bias=np.asarray(best["head"]["b"]),
        history=run.history,
    )


class _Run:
    """The loop over epochs: batches, averaging, the choice of the best state."""

    def __init__(
        self, trainer: _Trainer, train: Tokens, dev: Tokens, classes: int, progress: Progress
    ) -> None:
        self.trainer, self.train, self.dev, self.progress = trainer, train, dev, progress
        self.classes = classes
        settings = trainer.settings
        self.weights = _class_weights(train.labels, classes, settings.class_balance)
        self.fine_size = 0 if train.fine is None else train.fine.shape[1]
        rows = np.arange(len(train.ids), dtype=np.int64)
        self.per_epoch = sum(1 for _ in batches(train, rows, settings.batch, 0, self.weights))
        self.total = self.per_epoch * settings.epochs
        self.count = 0
        self.average: Params | None = None
        self.best: Params = trainer.learned
        self.history: list[float] = []
        self.started = time.monotonic()
        self.blend = jax.jit(lambda old, new, share: jax.tree.map(lambda a, b: a + share * (b - a), old, new))

    def epoch(self, epoch: int) -> None:
        settings = self.trainer.settings
        rng = np.random.default_rng([settings.seed, epoch])
        order = rng.permutation(len(self.train.ids)).astype(np.int64)
        prepared = list(batches(self.train, order, settings.batch, self.fine_size, self.weights))
        losses: list[float] = []
        for place in rng.permutation(len(prepared)):
            losses.append(self._one(self._corrupt(prepared[place], rng)))
            if self.count % 100 == 0:
                self._report(epoch, float(np.mean(losses[-100:])))
        self._judge(epoch)

    def _corrupt(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Replace some word pieces by ``[MASK]`` (id 103 of BERT's vocabularies), never a text's ends."""
        share = self.trainer.settings.token_dropout
        if share <= 0.0 or self.trainer.config.vocabulary <= 103:
            return batch
        chosen = (rng.random(batch.ids.shape) < share) & (batch.ids > 103)
        return Batch(
            np.where(chosen, np.int32(103), batch.ids), batch.mask, batch.labels, batch.fine, batch.weights
        )

    def _one(self, batch: Batch) -> float:
        trainer, settings = self.trainer, self.trainer.settings
        rate = settings.learning_rate * _schedule(self.count, self.total)
        self.count += 1
        key = jax.random.fold_in(jax.random.key(settings.seed), self.count)
        values = (batch.ids, batch.mask, batch.labels, batch.fine, batch.weights)
        pace = (np.float32(rate), np.float32(self.count))
        trainer.learned, trainer.state, loss = trainer.step(trainer.learned, trainer.state, values, key, pace)
        if self.count % 10 == 0:
            self._average()
        return float(loss)

    def _average(self) -> None:
        """Exponential average of the weights over the last ``averaging`` share of the steps."""
        if self.average is None:
            self.average = jax.tree.map(jnp.copy, self.trainer.learned)
            return
        horizon = max(1.0, self.trainer.settings.averaging * self.total / 10.0)
        share = max(1.0 / horizon, 1.0 / (self.count / 10.0))
        self.average = self.blend(self.average, self.trainer.learned, np.float32(share))

    def _judge(self, epoch: int) -> None:
        candidates = [jax.tree.map(jnp.copy, self.trainer.learned)]
        if self.average is not None:
            candidates.append(self.average)
        scores = [self._dev_score(candidate) for candidate in candidates]
        chosen = int(np.argmax(scores))
        if not self.history or scores[chosen] > max(self.history):
            self.best = candidates[chosen]
        self.history.append(scores[chosen])
        listed = " and ".join(f"{score:.4f}" for score in scores)
        elapsed = time.monotonic() - self.started
        self.progress(f"Epoch {epoch + 1}: dev macro-F1 {listed} (last, averaged) after {elapsed:.0f} s.")

    def _dev_score(self, learned: Params) -> float:
        vectors = self.trainer.embed_all(learned, self.dev) * np.float32(_SCALE)
        logits = vectors @ np.asarray(learned["head"]["w"]) + np.asarray(learned["head"]["b"])
        return macro_f1(self.dev.labels, logits.argmax(axis=1), self.classes)

    def _report(self, epoch: int, loss: float) -> None:
        elapsed = time.monotonic() - self.started
        left = elapsed / self.count * (self.total - self.count)
        self.progress(
            f"Epoch {epoch + 1}, step {self.count} of {self.total}: loss {loss:.3f}, "
            f"{elapsed:.0f} s done, about {left:.0f} s left."
        )
