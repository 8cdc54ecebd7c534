"""Serving: model archive, TorchServe and its front, and the client."""
