"""MLflow tracking of retraining runs."""
