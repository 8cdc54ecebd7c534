"""Create or update a file's automations in the Prefect server.

``python -m flows.services.automations`` reads ``infra/automations.yaml``. The action ``notify`` is
the project's own: it becomes one ``send-notification`` for each block in ``HEMLETS_NOTIFY``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flows.final_states import notification_blocks
from hemlets.core.environment import PREFECT_SERVER, clean_environment, require_reachable
from hemlets.core.errors import ConfigError, HemletsError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_FILE: Final = Path("infra/automations.yaml")
_NOTIFY: Final = "notify"


def apply_automations(path: Path = _FILE) -> list[str]:
    """Create or update each automation of a file; remove those without any action.

    Returns:
        The names of those that exist afterwards.

    Raises:
        ConfigError: The file is absent, or ``HEMLETS_NOTIFY`` names an unknown block.
    """
    import yaml
    from prefect.client.orchestration import get_client
    from prefect.events.schemas.automations import AutomationCore

    if not path.is_file():
        raise ConfigError("there are no automations", where=path,
                          remedy="run the command in the project's root")  # fmt: skip
    created = []
    with get_client(sync_client=True) as client:
        for values in yaml.safe_load(path.read_text(encoding="utf-8"))["automations"]:
            known = client.read_automations_by_name(values["name"])
            actions = [one for action in values["actions"] for one in _actions(client, action)]
            if not actions:
                for automation in known:
                    client.delete_automation(automation.id)
                continue
            core = AutomationCore.model_validate({**values, "actions": actions})
            if known:
                client.update_automation(known[0].id, core)
            else:
                client.create_automation(core)
            created.append(core.name)
    return created


def _actions(client: SyncPrefectClient, action: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    from prefect.exceptions import ObjectNotFound

    if action["type"] != _NOTIFY:
        yield dict(action)
        return
    for block in notification_blocks():
        kind, _, name = block.partition("/")
        try:
            found = client.read_block_document_by_name(name, kind)
        except ObjectNotFound:
            raise ConfigError(
                f"Prefect has no block {block!r}",
                where="HEMLETS_NOTIFY",
                expected="TYPE/NAME of a notification block, e.g. slack-webhook/team",
                remedy="save the block in Prefect's page, and run the command again",
            ) from None
        yield {**action, "type": "send-notification", "block_document_id": str(found.id)}


def main(arguments: Sequence[str]) -> int:
    """Apply the file that is given, else the project's own; print the names."""
    clean_environment()
    try:
        require_reachable(PREFECT_SERVER, health="/health")
        for name in apply_automations(*map(Path, arguments[:1])):
            print(name)
    except HemletsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
