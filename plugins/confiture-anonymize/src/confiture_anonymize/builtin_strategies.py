"""The built-in strategies."""

from __future__ import annotations

from confiture_anonymize.hash_strategies import HASH_STRATEGIES
from confiture_anonymize.number_strategies import NUMBER_STRATEGIES
from confiture_anonymize.text_strategies import TEXT_STRATEGIES
from confiture_anonymize.value_strategies import VALUE_STRATEGIES

STRATEGIES = (*HASH_STRATEGIES, *TEXT_STRATEGIES, *NUMBER_STRATEGIES, *VALUE_STRATEGIES)
