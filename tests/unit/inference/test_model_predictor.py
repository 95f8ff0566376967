"""The predictor: its routes, their guards, the tie-break, and golden answers of a tiny real model."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.encoders.hashing import HashingEncoder
from inference_server.predictors.base import FALLBACK_REASONS, ModelInfo, Prediction, Predictor
from inference_server.predictors.emotion.features import BUCKETS
from inference_server.predictors.emotion.heads import LinearHead, Prototypes
from inference_server.predictors.emotion.label_sets import ROUTES, RULES
from inference_server.predictors.emotion.labels import LABELS
from inference_server.predictors.emotion.loading import PredictorConfig, load_predictor
from inference_server.predictors.emotion.patterns import pattern_scores
from inference_server.predictors.emotion.predictor import EmotionPredictor, Thresholds
from inference_server.predictors.emotion.tiebreak import break_tie

CONFIG = PredictorConfig()


def _head(dimension: int = 16, bias: Sequence[float] | None = None) -> LinearHead:
    return LinearHead(
        embedding=np.zeros((dimension, len(LABELS)), np.float32),
        lexical=np.zeros((0, len(LABELS)), np.float32),
        idf=np.zeros(0, np.float32),
        bias=np.asarray(bias if bias is not None else [0.0] * len(LABELS), np.float32),
        temperature=1.0,
        uses_lexical=False,
    )


def _centres(dimension: int = 16) -> Prototypes:
    rng = np.random.default_rng(0)
    return Prototypes(centres=rng.normal(size=(len(LABELS), dimension)).astype(np.float32), temperature=0.1)


def _predictor(
    linear: LinearHead | None = None,
    prototypes: Prototypes | None = None,
    encoder: object = None,
    **thresholds: float,
) -> EmotionPredictor:
    info = ModelInfo(artifact_sha256="a", config_sha256="c", encoder="hashing", dimension=16, labels=LABELS)
    return EmotionPredictor(
        name="emotion",
        version="1",
        info=info,
        encoder=encoder or HashingEncoder(16),
        linear=linear,
        prototypes=prototypes,
        thresholds=Thresholds(**thresholds),
    )


class _BrokenEncoder(HashingEncoder):
    """Fails on texts that contain a word."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        if any("poison" in text for text in texts):
            raise RuntimeError("broken")
        return super().encode(texts)


def test_a_loaded_model_is_a_predictor_with_its_identity(artifacts: Path) -> None:
    predictor = load_predictor(artifacts, config=CONFIG)
    assert isinstance(predictor, Predictor)
    assert predictor.name == "emotion"
    assert predictor.version == "0.1"
    assert predictor.info.dimension == 64
    assert predictor.info.labels == LABELS
    assert len(predictor.info.artifact_sha256) == 64
    assert len(predictor.info.config_sha256) == 64


GOLDEN = {
    "Thank you so much for helping me with the parcel, you are a star": "joy",
    "I heard footsteps in the kitchen and froze": "fear",
    "j'attends à la gare depuis trois heures et personne ne nous dit rien": "frustration",
    "ma sœur m'a quittée hier et j'ai le cœur brisé": "sadness",
    "how dare my boss talk to me like that at school": "anger",
    "wait, grandma is getting married today": "surprise",
    "il y avait des cafards au bureau, absolument répugnant": "disgust",
    "le bus numéro quatre s'arrête en ville": "neutral",
}


def test_golden_predictions(artifacts: Path) -> None:
    predictor = load_predictor(artifacts, config=CONFIG)
    predictions = predictor.predict(list(GOLDEN))
    assert {text: item.label for text, item in zip(GOLDEN, predictions, strict=True)} == GOLDEN
    assert {item.route for item in predictions} == {"linear_head"}


def test_one_by_one_and_as_a_batch_are_the_same(artifacts: Path) -> None:
    predictor = load_predictor(artifacts, config=CONFIG)
    batch = predictor.predict(list(GOLDEN))
    assert batch == [predictor.predict([text])[0] for text in GOLDEN]
    assert predictor.predict([]) == []


@given(st.lists(st.text(alphabet=st.characters(), max_size=80), max_size=4))
def test_no_text_makes_it_raise_and_answers_keep_the_contract(texts: list[str]) -> None:
    for predictor in (_predictor(_head(), _centres()), _predictor(_head(8)), _predictor(None, _centres())):
        answers = predictor.predict(texts)
        assert len(answers) == len(texts)
        for item in answers:
            _check(item)


def _check(item: Prediction) -> None:
    assert item.label in LABELS
    assert item.route in ROUTES
    assert item.rule is None or item.rule in RULES
    assert set(item.fallbacks) <= set(FALLBACK_REASONS)
    assert set(item.dimension_mismatches) <= set(ROUTES)
    assert sum(item.scores.values()) == pytest.approx(1.0, abs=1e-4)
    assert item.confidence == item.scores[item.label]
    assert item.low_confidence == (item.confidence < 0.4)
    assert len(item.fallbacks) == ROUTES.index(item.route)


def test_a_head_of_another_dimension_falls_to_regex_and_counts_both_mismatches(artifacts: Path) -> None:
    predictor = load_predictor(artifacts, encoder_override="hashing:384", config=CONFIG)
    assert predictor.info.dimension == 384
    (item,) = predictor.predict(["I am so happy, thank you"])
    assert item.route == "regex"
    assert item.label == "joy"
    assert item.fallbacks == ("dimension_mismatch", "dimension_mismatch")
    assert item.dimension_mismatches == ("linear_head", "prototypes")


def test_missing_heads_are_unavailable() -> None:
    (item,) = _predictor(None, _centres()).predict(["hello there"])
    assert (item.route, item.fallbacks) == ("prototypes", ("unavailable",))
    (item,) = _predictor(None, None).predict(["hello there"])
    assert (item.route, item.fallbacks) == ("regex", ("unavailable", "unavailable"))


def test_a_text_that_breaks_the_encoder_does_not_spoil_its_batch() -> None:
    predictor = _predictor(_head(), _centres(), _BrokenEncoder(16))
    first, second, third = predictor.predict(["fine", "this is poison, I hate it", "fine too"])
    assert (first.route, third.route) == ("linear_head", "linear_head")
    assert (second.route, second.fallbacks) == ("regex", ("error", "error"))


def test_an_error_in_the_head_falls_to_prototypes() -> None:
    broken = LinearHead(
        embedding=np.zeros((16, len(LABELS)), np.float32),
        lexical=np.zeros((3, len(LABELS)), np.float32),  # too short: every lookup beyond it fails
        idf=np.zeros(BUCKETS, np.float32),
        bias=np.zeros(len(LABELS), np.float32),
        temperature=1.0,
        uses_lexical=True,
    )
    (item,) = _predictor(broken, _centres()).predict(["a word that is hashed somewhere"])
    assert (item.route, item.fallbacks) == ("prototypes", ("error",))


def test_scores_that_are_no_numbers_fall_through() -> None:
    (item,) = _predictor(_head(bias=[float("nan")] * 8), _centres()).predict(["x y"])
    assert (item.route, item.fallbacks) == ("prototypes", ("error",))


def test_a_minimum_makes_an_uncertain_answer_fall_through() -> None:
    (item,) = _predictor(_head(), _centres(), linear_minimum=0.5, prototypes_minimum=1.0).predict(["hm ok"])
    assert (item.route, item.fallbacks) == ("regex", ("low_confidence", "low_confidence"))


def test_low_confidence_follows_its_threshold() -> None:
    (item,) = _predictor(_head(), low_confidence=0.1).predict(["equal scores of an eighth"])
    assert not item.low_confidence
    (item,) = _predictor(_head(), low_confidence=0.2).predict(["equal scores of an eighth"])
    assert item.low_confidence


def _tied(difference: float) -> dict[str, float]:
    scores = dict.fromkeys(LABELS, 0.02)
    scores["frustration"], scores["anger"] = 0.44, 0.44 - difference
    return scores


@pytest.mark.parametrize(
    ("text", "difference", "expected"),
    [
        ("you idiot, how dare you", 0.01, ("anger", "anger_frustration")),
        ("je suis hors de moi, quel connard", 0.01, ("anger", "anger_frustration")),
        ("it is stuck again, ugh", 0.01, ("frustration", "anger_frustration")),
        ("j'en ai marre, ça ne marche toujours pas", 0.01, ("frustration", "anger_frustration")),
        ("you idiot, how dare you", 0.06, ("frustration", None)),
        ("nothing that tells them apart here", 0.01, ("frustration", None)),
    ],
)
def test_the_tie_break_decides_close_scores_by_keywords(
    text: str, difference: float, expected: tuple[str, str | None]
) -> None:
    assert break_tie("frustration", _tied(difference), text, 0.05) == expected


def test_the_tie_break_leaves_other_labels_and_a_delta_of_zero_alone() -> None:
    assert break_tie("joy", _tied(0.0), "you idiot", 0.05) == ("joy", None)
    assert break_tie("frustration", _tied(0.0), "you idiot", 0.0) == ("frustration", None)


def test_the_delta_reaches_the_predictor() -> None:
    bias = [0.0] * 8
    bias[LABELS.index("frustration")], bias[LABELS.index("anger")] = 4.0, 3.9
    text = "shut up, you idiot"
    (strict,) = _predictor(_head(bias=bias), tie_break_delta=0.001).predict([text])
    (loose,) = _predictor(_head(bias=bias), tie_break_delta=0.2).predict([text])
    assert (strict.label, strict.rule) == ("frustration", None)
    assert (loose.label, loose.rule) == ("anger", "anger_frustration")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I love this, thank you!", "joy"),
        ("je suis ravie, merci", "joy"),
        ("I am terrified of the dark", "fear"),
        ("j'ai peur et je panique", "fear"),
        ("ugh, this is so annoying", "frustration"),
        ("j'en ai marre, c'est agaçant", "frustration"),
        ("not happy with it", "frustration"),
        ("I cried, I feel so lonely", "sadness"),
        ("je suis triste et je pleure", "sadness"),
        ("you idiot, I hate you", "anger"),
        ("quel connard, je suis furieux", "anger"),
        ("wow, I can't believe it", "surprise"),
        ("c'est incroyable, je suis étonné", "surprise"),
        ("yuck, that is gross", "disgust"),
        ("beurk, c'est dégoûtant", "disgust"),
        ("the train leaves at five", "neutral"),
        ("le train part à cinq heures", "neutral"),
        ("", "neutral"),
    ],
)
def test_the_regex_route_knows_both_languages(text: str, label: str) -> None:
    scores = pattern_scores(text, LABELS)
    assert LABELS[int(scores.argmax())] == label
    assert float(scores.sum()) == pytest.approx(1.0, abs=1e-5)


def test_threads_get_the_same_answers(artifacts: Path) -> None:
    predictor = load_predictor(artifacts, config=CONFIG)
    expected = predictor.predict(list(GOLDEN))
    wrong: list[object] = []

    def work() -> None:
        wrong.extend(answers for _ in range(10) if (answers := predictor.predict(list(GOLDEN))) != expected)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
