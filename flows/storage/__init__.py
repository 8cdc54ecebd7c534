"""Storage between runs: stage cache, data versions, retention."""
