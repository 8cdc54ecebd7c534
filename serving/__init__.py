"""Serving: the model archive, TorchServe around it, and the client that talks to it."""
