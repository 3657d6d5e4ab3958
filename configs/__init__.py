"""Recipe cards: default.py is whole, the others say how they differ. A package, so that no other is found first."""
