"""Images are found by the names that shared annotation files give them."""

from pathlib import Path

import pytest

from hemlets.core.errors import DataError
from hemlets.data.readers.image_names import ImageFinder


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def test_a_name_that_leads_to_a_file_is_taken_as_it_is(tmp_path):
    finder = ImageFinder(folder_of(tmp_path, "S1/a.jpg", "S2/S1/a.jpg"))
    assert finder.find("S1/a.jpg") == "S1/a.jpg"


def test_the_folder_of_images_goes_first(tmp_path):
    assert ImageFinder(folder_of(tmp_path, "images/a.jpg", "a.jpg")).find("a.jpg") == "images/a.jpg"


@pytest.mark.parametrize("name", ["a_1.jpg", "S1_Walking/a_1.jpg"])
def test_a_name_without_its_folders_is_found_by_its_end(tmp_path, name):
    finder = ImageFinder(folder_of(tmp_path, "S1/S1_Walking/a_1.jpg", "S1/S1_Walking/aa_1.jpg"))
    assert finder.find(name) == "S1/S1_Walking/a_1.jpg"


def test_a_name_of_two_images_is_refused_with_both(tmp_path):
    finder = ImageFinder(folder_of(tmp_path, "S1/a.jpg", "S2/a.jpg"))
    with pytest.raises(DataError, match=r"2 images have the name 'a.jpg': S1/a.jpg, S2/a.jpg"):
        finder.find("a.jpg")
    assert finder.find("S2/a.jpg") == "S2/a.jpg"


def test_a_name_of_no_image_stays_for_the_message_about_it(tmp_path):
    assert ImageFinder(folder_of(tmp_path, "images/a.jpg")).find("b.jpg") == "images/b.jpg"


def test_a_name_in_its_own_case_goes_before_one_in_another(tmp_path):
    finder = ImageFinder(folder_of(tmp_path, "S1/a.JPG", "S2/a.jpg"))
    assert finder.find("a.jpg") == "S2/a.jpg"
    with pytest.raises(DataError, match=r"2 images have the name 'A.jpg': S1/a.JPG, S2/a.jpg"):
        finder.find("A.jpg")
