"""The model registry: versions, promotion rules, rollback."""
