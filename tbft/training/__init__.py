"""Training by steps with Lightning's Trainer, what is refused before it is made, and training while climbing."""
