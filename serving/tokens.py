"""TorchServe's tokens: read from its key file and renewed before they expire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from hemlets.core.errors import DataError, ServingError
from hemlets.core.files import read_json

TokenKind = Literal["inference", "management"]

_RENEW_BEFORE = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class KeyFile:
    """The ``key_file.json`` that TorchServe writes into its working folder.

    Attributes:
        path: Path of the file.
        management_url: Address for renewing tokens.
    """

    path: Path
    management_url: str

    def token(self, kind: TokenKind) -> str:
        """Return a token that is valid for the next minutes.

        Raises:
            ServingError: The key file is absent or damaged, or the renewal failed.
        """
        entry = self._read()[kind]
        if datetime.fromisoformat(_microseconds(entry["expiration time"])) < (
            datetime.now(UTC) + _RENEW_BEFORE
        ):
            self._renew(kind)
            entry = self._read()[kind]
        return entry["key"]

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            values: dict[str, dict[str, str]] = read_json(self.path)
            for kind in ("inference", "management"):
                values[kind]["key"], values[kind]["expiration time"]
        except (DataError, KeyError, TypeError) as error:
            raise ServingError(
                "TorchServe's key file can't be read",
                where=self.path,
                remedy="start the server again: it writes a new one",
            ) from error
        return values

    def _renew(self, kind: TokenKind) -> None:
        import requests

        key = self._read().get("API", {}).get("key", "")
        with requests.Session() as session:
            session.trust_env = False
            try:
                answer = session.get(
                    f"{self.management_url}/token",
                    params={"type": kind},
                    headers={"Authorization": f"Bearer {key}"},
                    timeout=10,
                )
                answer.raise_for_status()
            except requests.RequestException as error:
                raise ServingError(
                    f"the {kind} token has expired and could not be renewed",
                    where=self.management_url,
                    remedy="start the server again: it writes new tokens",
                ) from error


def _microseconds(timestamp: str) -> str:
    # Java writes up to nine decimals, Python 3.11 parses six.
    whole, _, fraction = timestamp.rstrip("Z").partition(".")
    return f"{whole}.{fraction[:6]:0<6}+00:00"
