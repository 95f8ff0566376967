"""The kinds of predictors that this server knows: one row for each, name and module.

A new kind is its folder and its row here; CONTRIBUTING.md has the recipe.
"""

from __future__ import annotations

from typing import Final

KINDS: Final[dict[str, str]] = {
    "emotion": "inference_server.predictors.emotion.kind",
    "suggestions": "inference_server.predictors.suggestions.kind",
}
DEFAULT_KIND: Final = "emotion"
"""The kind of artefacts without one in their manifest: those written before there were several."""
_SUGGESTIONS: Final = "inference_server.predictors.suggestions"
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "features": (f"{_SUGGESTIONS}.training.tools:features", "What a model reads of a file of transactions."),
    "thresholds": (f"{_SUGGESTIONS}.training.tools:thresholds", "Which confidence to ask of a model."),
    "status": (f"{_SUGGESTIONS}.commands:status", "What a suggestion server serves."),
    "canary": (f"{_SUGGESTIONS}.commands:canary", "Which users get the model's answers."),
    "smoke": (f"{_SUGGESTIONS}.commands:smoke", "The same as validate smoke."),
    "rules": (f"{_SUGGESTIONS}.commands:rules", "Check files of rules."),
    "detect": (
        "inference_server.predictors.docdetector.command:detect",
        "Count which items of a tree of Python or Rust are documented.",
    ),
}
"""Commands that kinds bring beside ``train``, ``evaluate`` and ``validate``: where each is, and its help."""
