"""The papers' own experiments, trained from scratch."""
