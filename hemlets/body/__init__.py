"""The body model: θ and β → mesh and joints."""

from hemlets.body.model import Body, BodyModel, read_body_arrays

__all__ = ["Body", "BodyModel", "read_body_arrays"]
