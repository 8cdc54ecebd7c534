"""All datasets by name."""

import subprocess
import sys

import pytest

from hemlets.core.errors import ConfigError
from hemlets.data.readers.catalogue import datasets, find


def test_every_dataset_says_what_it_needs_and_where_it_is_from():
    for dataset in datasets():
        assert dataset.layout, dataset.name
        for text in (dataset.title, dataset.paper, dataset.licence, dataset.document):
            assert text, dataset.name
        assert dataset.joints, dataset.name
        assert dataset.conventions, dataset.name


def test_names_are_unique_and_found_in_any_case_and_spelling():
    names = [dataset.name for dataset in datasets()]
    assert len(set(names)) == len(names)
    for name in names:
        assert find(name.upper().replace("_", "-")).name == name


def test_every_reader_can_be_imported():
    from importlib import import_module

    for dataset in datasets():
        module, function = dataset.reader.split(":")
        assert callable(getattr(import_module(module), function))


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match="there is no dataset 'imagenet'") as caught:
        find("imagenet")
    assert "lspet" in str(caught.value)
    assert "mpii" in str(caught.value)


def test_importing_the_catalogue_imports_no_reader():
    code = (
        "import sys, hemlets.data.readers.catalogue; "
        "print('hemlets.data.readers.mpii' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
