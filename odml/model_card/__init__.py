"""The card of an exported detector: what it is, how good it is, how it is called."""

from odml.model_card.card import CARD, Facts, card_metrics, write_card

__all__ = ["CARD", "Facts", "card_metrics", "write_card"]
