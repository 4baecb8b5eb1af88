"""The steps of an adaptation, without Lightning: freeze, refresh, solve, cache, keep the better model, record.

``tbft.callbacks`` gives the same steps to a Trainer.
"""
