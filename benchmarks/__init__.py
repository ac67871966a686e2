"""What the documented numbers of performance come from: ``python -m benchmarks.NAME [--short]``."""
