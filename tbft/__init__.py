"""Target Block Fine-Tuning: low-energy personalization of image classifiers on small devices."""

__version__ = "0.1.0"
