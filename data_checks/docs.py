"""Data Docs without network access.

Great Expectations' own pages load styles and scripts from content delivery networks. Here its
renderers fill our templates (``templates/data_docs``), which take precedence over its templates of
the same name and load and execute nothing.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from great_expectations.checkpoint import UpdateDataDocsAction
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, FileSystemLoader, PackageLoader

from data_checks.rules.table import TABLE_FILE

if TYPE_CHECKING:
    from great_expectations.data_context import EphemeralDataContext

_TEMPLATES = Path(__file__).parent / "templates" / "data_docs"


class OfflineView(DefaultJinjaPageView):  # type: ignore[misc]
    """Fills our templates, or Great Expectations' where we have none."""

    def __init__(self, **directories: Any) -> None:
        super().__init__(**directories)
        self.env.loader = ChoiceLoader(
            [FileSystemLoader(_TEMPLATES), PackageLoader("hemlets.reports"), self.env.loader]
        )

    def _validate_document(self, document: Any) -> None:
        """Accept a rendered document, or the values of the index."""


class OfflineIndexView(OfflineView):
    """Fills the template of the index."""

    _template = "index.j2"


class ResultsRenderer(ValidationResultsPageRenderer):  # type: ignore[misc]
    """Renders results without the path of the values' temporary file."""

    def render(self, validation_results: Any) -> Any:
        """Render one suite's results."""
        shown = copy.copy(validation_results)
        shown.meta = {k: v for k, v in shown.meta.items() if not k.startswith("batch_")}
        shown.meta["batch_kwargs"] = {"data_asset_name": TABLE_FILE}
        return super().render(shown)


class IndexRenderer:
    """Passes each suite, its page and its numbers of expectations to the index template."""

    def __init__(self, data_context: EphemeralDataContext) -> None:
        self._context = data_context

    def render(self, links: Mapping[str, Any]) -> dict[str, Any]:
        """Return the template's values from the site builder's links."""
        store = self._context.validation_results_store
        results = {result.suite_name: result for result in map(store.get, store.list_keys())}
        return {
            "suites": [
                {**link, **results[link["expectation_suite_name"]].statistics}
                for link in sorted(
                    links.get("validations_links", ()),
                    key=lambda link: (link["validation_success"], link["expectation_suite_name"]),
                )
            ]
        }


def context_with_site(site: Path) -> EphemeralDataContext:
    """Make an ephemeral context whose Data Docs are a folder of offline pages."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
    )

    def of(kind: str) -> dict[str, str]:
        return {"module_name": __name__, "class_name": kind}

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        data_docs_sites={
            "local": {
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(site.resolve()),
                },
                "site_section_builders": {
                    "expectations": {"view": of("OfflineView")},
                    "validations": {"view": of("OfflineView"), "renderer": of("ResultsRenderer")},
                    "profiling": "None",
                },
                "site_index_builder": {
                    "class_name": "DefaultSiteIndexBuilder",
                    "renderer": of("IndexRenderer"),
                    "view": of("OfflineIndexView"),
                },
            }
        },
        analytics_enabled=False,
        progress_bars={"globally": False, "metric_calculations": False},
    )
    return gx.get_context(mode="ephemeral", project_config=config)


class BuildDataDocs(UpdateDataDocsAction):  # type: ignore[misc]
    """Builds all pages once per checkpoint, not the index again for every suite."""

    type: Literal["build_data_docs"] = "build_data_docs"

    def run(self, checkpoint_result: Any, action_context: Any = None) -> dict[str, Any]:
        """Build the pages, without unused fonts and pictures."""
        self._data_context.build_data_docs()
        for site in self._data_context.variables.data_docs_sites.values():
            folder = Path(site["store_backend"]["base_directory"])
            shutil.rmtree(folder / "static", ignore_errors=True)
        return {}
