"""What odml claims about speed and exactness, measured: ``python -m benchmarks.NAME``."""
