"""Training of both stages: data feeding, the engine, checkpoints. Knows no tracker."""
