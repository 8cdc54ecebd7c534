"""What is stored between runs: stage cache, data versions, retention."""
