"""Training by steps: Lightning's Trainer around an adaptation, and what is refused before it is made."""
