"""The survey: which power sources a machine has, what they read, and how to get better ones."""
