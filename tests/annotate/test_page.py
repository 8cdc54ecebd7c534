"""The page in a real Chromium: by keyboard alone, by touch at phone width, in two tabs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hemlets.annotation.store import AnswerStore

from .conftest import MakeVersion, Server

pytestmark = pytest.mark.services

PHONE = {
    "viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True,
    "device_scale_factor": 2,
}  # fmt: skip


class Page:
    """A page of an annotator, with what a person does on it."""

    def __init__(self, context: Any, server: Server) -> None:
        self.page = context.new_page()
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.server = server

    def open(self, name: str = "") -> None:
        self.page.goto(self.server.address)
        self.page.wait_for_selector("body.ready")
        if name:
            self.page.keyboard.type(name)
            self.page.keyboard.press("Enter")
        self.page.wait_for_selector("body[data-position]")

    @property
    def position(self) -> int:
        return int(self.page.locator("body").get_attribute("data-position"))

    def at(self, position: int) -> None:
        self.page.wait_for_selector(f"body[data-position='{position}']")

    def part(self, name: str) -> None:
        self.page.wait_for_selector(f"#part:text-is('{name}')")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)


@pytest.fixture
def contexts(browser: Any) -> Iterator[Callable[..., Any]]:
    opened = []

    def make(**options: Any) -> Any:
        context = browser.new_context(**options)
        context.set_default_timeout(20_000)
        opened.append(context)
        return context

    yield make
    for context in opened:
        context.close()


def log_of(server: Server) -> AnswerStore:
    (path,) = (server.home / "annotation").glob("*.sqlite")
    return AnswerStore(path, source=None)


def said(server: Server, kind: str = "answer") -> list[tuple[str, str]]:
    with log_of(server) as log:
        return [(e.question, e.value) for e in log.events() if e.kind == kind]


def test_a_person_is_labelled_by_keyboard_alone(
    make_version: MakeVersion, serve: Callable[..., Server], contexts: Callable[..., Any]
) -> None:
    server = serve(make_version(), "--no-opinions")
    page = Page(contexts(), server)
    page.open("anna")
    page.part("torso")
    page.press("f", "b", "u")
    page.part("right collarbone")
    page.press("ArrowLeft", "ArrowLeft")
    page.part("head")
    page.press("f")
    page.part("right collarbone")
    page.press("z")
    page.part("head")
    assert page.page.locator("#parts b").all_text_contents()[:4] == ["F", "B", "U", ""]
    page.press("ArrowRight", "ArrowRight", *"f" * 11)
    page.at(1)
    page.press("n")
    page.at(2)
    page.press("c")
    page.at(3)
    page.press("f", "Enter")
    page.at(4)
    page.press("ArrowUp")
    page.at(3)
    page.press("?")
    assert page.page.locator("#keys").is_visible()
    page.press("Escape")
    page.press("+", "+", "0")
    with log_of(server) as log:
        events = list(log.events())
        assert log.count_finished("anna") == 4
    assert [e.value for e in events if e.kind == "flag"] == ["on", "on"]
    assert all(e.shown["input"] == "key" for e in events)
    assert all(0 <= e.elapsed_ms < 20_000 for e in events)
    assert not page.faults


def test_an_undo_at_the_start_of_an_image_goes_back_to_the_one_before(
    make_version: MakeVersion, serve: Callable[..., Server], contexts: Callable[..., Any]
) -> None:
    server = serve(make_version(), "--no-opinions")
    page = Page(contexts(), server)
    page.open("anna")
    page.press("Enter")
    page.at(1)
    page.press("z")
    page.at(0)
    page.page.wait_for_selector("#progress:text-is('0 of 6')")
    assert not page.faults


def test_a_person_is_labelled_by_touch_at_phone_width(
    make_version: MakeVersion, serve: Callable[..., Server], contexts: Callable[..., Any]
) -> None:
    server = serve(make_version(), "--no-opinions")
    page = Page(contexts(**PHONE), server)
    view = page.page
    view.goto(server.address)
    view.fill("#name", "ben")
    view.tap("#start .strong")
    page.at(0)
    for label, after in zip("FBU", ("head", "left collarbone", "right collarbone"), strict=True):
        view.tap(f"#answer_{label}")
        page.part(after)
    view.tap("#undo")
    page.part("left collarbone")
    view.tap("#more summary")
    view.tap("#swapped")
    view.wait_for_selector("#swapped[aria-pressed=true]")
    view.tap("#more summary")
    view.tap("#finish")
    page.at(1)
    width = view.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, "the page does not scroll sideways"
    sizes = view.evaluate(
        "[...document.querySelectorAll('.answers button, .move button')]"
        ".map(one => one.getBoundingClientRect()).map(box => Math.min(box.width, box.height))"
    )
    assert min(sizes) >= 40, "a finger hits the buttons"
    with log_of(server) as log:
        inputs = {e.shown["input"] for e in log.events()}
    assert inputs == {"touch"}
    assert not page.faults


def test_a_joint_is_moved_by_mouse_and_by_keys(
    make_version: MakeVersion, serve: Callable[..., Server], contexts: Callable[..., Any]
) -> None:
    server = serve(make_version(), "--no-opinions")
    page = Page(contexts(), server)
    page.open("anna")
    page.press("j")
    handle = page.page.locator("[data-joint='13']")
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.page.mouse.move(x, y)
    page.page.mouse.down()
    page.page.mouse.move(x + 40, y - 30, steps=4)
    page.page.mouse.up()
    page.page.wait_for_selector("#save:text-is('Saved')")
    page.page.locator("[data-joint='16']").focus()
    page.press("ArrowRight", "ArrowRight", "Shift+ArrowDown")
    page.page.wait_for_timeout(900)
    joints = dict(said(server, "joint"))
    assert set(joints) == {"left_wrist", "right_wrist"}
    page.press("j")
    page.press("f")
    page.part("head")
    assert not page.faults


def test_the_models_opinion_is_hidden_until_it_is_asked_for_and_that_is_noted(
    make_version: MakeVersion, serve: Callable[..., Server], contexts: Callable[..., Any]
) -> None:
    server = serve(make_version(), "--no-opinions")
    with log_of(server) as log:
        log.add_opinions({"sample/0": {"relations": {"torso": "B"}}})
    page = Page(contexts(), server)
    page.open("anna")
    assert page.page.locator("#says").is_hidden()
    page.press("m")
    page.page.wait_for_selector("#says:not([hidden])")
    assert "Backward" in page.page.locator("#says").inner_text()
    page.press("f")
    page.part("head")
    with log_of(server) as log:
        shown = [(e.kind, e.shown["opinion"]) for e in log.events()]
    assert shown == [("opinion", False), ("answer", True)]


def test_labelling_resumes_in_another_tab_and_an_answer_of_a_closed_one_is_sent_again(
    make_version: MakeVersion, serve: Callable[..., Server], contexts: Callable[..., Any]
) -> None:
    server = serve(make_version(), "--no-opinions")
    context = contexts()
    page = Page(context, server)
    page.open("anna")
    page.press("f", "b")
    page.part("left collarbone")
    server.kill()
    page.press("b")
    page.page.wait_for_selector("#notice:not([hidden]):has-text('Not saved')")
    page.page.close()  # The answer was never acknowledged.
    server.start()
    again = Page(context, server)
    again.open()
    again.part("right collarbone")
    assert said(server) == [("torso", "F"), ("head", "B"), ("left_clavicle", "B")]


def test_an_open_page_goes_on_after_the_server_was_killed(
    make_version: MakeVersion, serve: Callable[..., Server], contexts: Callable[..., Any]
) -> None:
    server = serve(make_version(), "--no-opinions")
    page = Page(contexts(), server)
    page.open("anna")
    page.press("f")
    page.part("head")
    server.kill()
    page.press("b", "u", "f")
    page.part("head")
    server.start()
    page.part("left upper arm")
    assert said(server) == [
        ("torso", "F"), ("head", "B"), ("left_clavicle", "U"), ("right_clavicle", "F"),
    ]  # fmt: skip
    assert page.page.locator("#notice").is_hidden()


def test_an_image_is_waited_for_while_the_server_does_not_answer(
    make_version: MakeVersion, serve: Callable[..., Server], contexts: Callable[..., Any]
) -> None:
    server = serve(make_version(), "--no-opinions")
    page = Page(contexts(), server)
    page.page.route("**/api/image*", lambda route: route.abort())
    page.page.goto(server.address)
    page.page.fill("#name", "anna")
    page.press("Enter")
    page.page.wait_for_selector("#notice:text('does not answer')")
    page.page.unroute("**/api/image*")
    page.at(0)
    page.page.wait_for_selector("#notice", state="hidden")
    assert page.page.locator("#empty").is_hidden(), "it is not said to be gone"
    assert not page.faults


def test_the_same_image_in_two_tabs_keeps_both_answers(
    make_version: MakeVersion, serve: Callable[..., Server], contexts: Callable[..., Any]
) -> None:
    server = serve(make_version(), "--no-opinions")
    context = contexts()
    first, second = Page(context, server), Page(context, server)
    first.open("anna")
    second.open()
    first.press("f")
    first.part("head")
    second.press("b")
    second.page.wait_for_selector("#notice:not([hidden])")
    assert "another tab" in second.page.locator("#notice").inner_text()
    assert said(server) == [("torso", "F"), ("torso", "B")]


def test_two_annotators_label_at_once(
    make_version: MakeVersion, serve: Callable[..., Server], contexts: Callable[..., Any]
) -> None:
    server = serve(make_version(), "--no-opinions")
    anna, ben = (Page(contexts(), server) for _ in range(2))
    anna.open("anna")
    ben.open("ben")
    assert (anna.position, ben.position) == (0, 1), "not the same image at once"
    for _ in range(13):
        for page in (anna, ben):
            page.press("f")
    # Whoever finishes first gets the first free image.
    for page, free in ((anna, 2), (ben, 3)):
        page.press("f")
        page.at(free)
    with log_of(server) as log:
        assert [log.count_finished(name) for name in ("anna", "ben")] == [1, 1]


def test_the_end_is_said_and_can_be_left(
    make_version: MakeVersion, serve: Callable[..., Server], contexts: Callable[..., Any]
) -> None:
    server = serve(make_version(2), "--no-opinions")
    page = Page(contexts(), server)
    page.open("anna")
    page.press("Enter", "Enter")
    page.page.wait_for_selector("text=Everything is labelled")
    page.press("ArrowUp")
    page.at(1)
    assert not page.faults


def test_who_has_to_wait_for_the_last_image_gets_it_when_it_is_left(
    make_version: MakeVersion, serve: Callable[..., Server], contexts: Callable[..., Any]
) -> None:
    server = serve(make_version(1), "--no-opinions")
    anna, ben = (Page(contexts(), server) for _ in range(2))
    anna.open("anna")
    ben.page.goto(server.address)
    ben.page.fill("#name", "ben")
    ben.press("Enter")
    ben.page.wait_for_selector("text=Others have the last images")
    anna.press("Enter")
    ben.at(0)
    assert not anna.faults + ben.faults


def test_every_control_has_a_name_for_a_screen_reader(
    make_version: MakeVersion, serve: Callable[..., Server], contexts: Callable[..., Any]
) -> None:
    server = serve(make_version(), "--no-opinions")
    page = Page(contexts(), server)
    page.open("anna")
    tree = page.page.locator("body").aria_snapshot()
    assert not re.search(r"- (button|img|group|textbox)( \[.*\])?:?$", tree, re.M), tree
    assert 'button "Forward: the base of the neck is nearer the camera"' in tree
    assert 'img "Photograph with a skeleton. Lit: the torso' in tree
    live = page.page.locator("[aria-live=polite]").inner_text()
    assert live.startswith("torso, 1 of 14.")


def test_every_sentence_of_the_page_is_in_the_file_of_strings() -> None:
    import json

    import annotate

    static = Path(annotate.__file__).parent / "static"
    words = json.loads((static / "strings.json").read_text(encoding="utf-8"))
    page = (static / "index.html").read_text(encoding="utf-8")
    used = set(re.findall(r'data-(?:text|label)="(\w+)"', page))
    assert used <= set(words)
    text = re.sub(r"<(noscript|title)>.*?</\1>|<[^>]*>", " ", page)
    assert not re.findall(r"[A-Za-z]{3,}", re.sub(r"\{\{\w+\}\}", "", text))
