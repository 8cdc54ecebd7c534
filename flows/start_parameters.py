"""Types of a retraining's parameters, which Prefect's page validates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from flows.profile import profile_names

if TYPE_CHECKING:
    ProfileChoice = str
else:
    ProfileChoice = (
        Annotated[Literal[tuple(profile_names())], Field(title="A profile by its name")]
        | Annotated[str, Field(title="A profile's file", pattern=r"\.toml$")]
    )

Override = Annotated[
    str,
    Field(
        title="section.key=value",
        pattern=r"^[A-Za-z_][A-Za-z0-9_.]*=.+",
        examples=["train_pose.steps=300"],
    ),
]

Number = (
    Annotated[int, Field(title="A number", ge=0, le=1_000_000)]
    | Annotated[Literal["date"], Field(title="That of the day")]
)
