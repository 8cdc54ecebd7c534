"""Requests: who is answered, what is refused, and that pages stay small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemlets.annotation.answers import Event
from hemlets.annotation.questions import FBI
from hemlets.annotation.store import AnswerStore
from hemlets.annotation.tasks import PhotoTasks, VersionTasks, photo_source

from .conftest import MakeVersion, add_many

testclient = pytest.importorskip("starlette.testclient")

from annotate.app import make_app  # noqa: E402
from annotate.security import PAGE_SECRET, Access  # noqa: E402


class Client:
    """A page's requests to a server in this process."""

    def __init__(self, folder: Path, log: Path, access: Access | None = None, **more: Any) -> None:
        self.access = access or Access()
        self.tasks = VersionTasks(folder, **more)
        self.store = AnswerStore(log, source=self.tasks.source)
        app = make_app(self.tasks, self.store, self.access)
        self.http = testclient.TestClient(app, base_url="http://127.0.0.1:8085")
        self.secret = {PAGE_SECRET.decode(): self.access.page}
        self.sent = 0

    def get(self, path: str, **values: Any) -> Any:
        return self.http.get(f"/api/{path}", params=values)

    def task(self, position: int = 0, annotator: str = "anna") -> dict[str, Any]:
        return self.get("task", position=position, annotator=annotator).json()

    def event(self, position: int = 0, **more: Any) -> dict[str, Any]:
        self.sent += 1
        return {
            "key": f"test-key-{self.sent}", "annotator": "anna", "position": position,
            "task": self.task(position)["id"], "kind": "answer", "question": "head", "value": "F",
            "elapsed_ms": 800, "shown": {"session": "one", "opinion": False, "zoom": 1.0},
        } | more  # fmt: skip

    def post(self, event: dict[str, Any], **headers: str) -> Any:
        return self.http.post("/api/answer", json=event, headers=self.secret | headers)


@pytest.fixture
def client(make_version: MakeVersion, tmp_path: Path) -> Client:
    return Client(make_version(), tmp_path / "log.sqlite")


def test_an_acknowledged_answer_is_in_the_file(client: Client) -> None:
    answer = client.post(client.event()).json()
    assert answer["state"]["answers"] == {"head": "F"}
    with AnswerStore(client.store.path, source=client.tasks.source) as other:
        (event,) = other.events()
    assert (event.annotator, event.question, event.value, event.elapsed_ms) == (
        "anna", "head", "F", 800,
    )  # fmt: skip
    assert event.shown["session"] == "one"
    assert event.time.endswith("+00:00")


def test_labelling_goes_on_where_it_stopped(client: Client) -> None:
    assert client.get("open", annotator="anna").json()["position"] == 0
    client.post(client.event(0, kind="done", question="", value=""))
    opened = client.get("open", annotator="anna").json()
    assert (opened["position"], opened["finished"], opened["total"]) == (1, 1, 6)
    assert client.get("open", annotator="ben").json()["position"] == 0


def test_a_task_that_enough_others_labelled_is_not_asked_again(client: Client) -> None:
    app = make_app(client.tasks, client.store, client.access, votes=1)
    other = testclient.TestClient(app, base_url="http://127.0.0.1:8085")
    client.post(client.event(0, kind="done", question="", value=""))
    assert other.get("/api/open", params={"annotator": "ben"}).json()["position"] == 1


def test_two_tabs_of_an_annotator_hear_of_each_other(client: Client) -> None:
    first = client.post(client.event(value="F")).json()
    second = client.post(client.event(question="torso", value="B")).json()
    assert second["before"] == first["state"]["revision"]
    third = client.post(client.event(value="U")).json()
    assert third["before"] != first["state"]["revision"]
    assert third["state"]["answers"] == {"head": "U", "torso": "B"}


def test_a_page_shows_nothing_of_where_a_frame_comes_from(
    make_version: MakeVersion, tmp_path: Path
) -> None:
    gold = make_version(4, with_3d=4, prefix="gold-frame", side=98)
    client = Client(make_version(30), tmp_path / "log.sqlite", gold=gold)
    assert len(client.tasks) == 33
    names = [client.tasks.task(position).name for position in range(33)]
    golden = [position for position, name in enumerate(names) if "gold" in name]
    assert [position // 13 for position in golden] == [0, 1, 2]
    shown = [client.task(position) for position in range(33)]
    assert {tuple(one) for one in shown} == {tuple(shown[0])}
    assert not any("gold" in str(one) or "sample" in str(one) for one in shown)


def test_the_gate_and_the_test_are_never_shown(make_version: MakeVersion) -> None:
    from hemlets.core.errors import ConfigError

    for split in ("gate", "test"):
        with pytest.raises(ConfigError, match="no row can be labelled"):
            VersionTasks(make_version(split=split))


def test_a_queue_chooses_tasks_and_their_order(make_version: MakeVersion) -> None:
    tasks = VersionTasks(make_version(), queue=["sample/4", "no such", "sample/1"])
    assert [tasks.task(position).name for position in range(len(tasks))] == ["sample/4", "sample/1"]


def test_an_image_is_fetched_once(client: Client) -> None:
    address = f"/{client.task()['image']}"
    first = client.http.get(address)
    assert first.headers["content-type"] == "image/jpeg"
    again = client.http.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"value": "X"}, 400), ({"question": "../../x"}, 400), ({"annotator": ""}, 400),
        ({"annotator": "a\nb"}, 400),
        ({"key": "../../../etc/passwd"}, 400), ({"position": 99}, 404),
        ({"position": -1}, 422), ({"kind": "drop table"}, 422), ({"task": "0" * 24}, 409),
        ({"elapsed_ms": -5}, 422), ({"elapsed_ms": "Infinity"}, 422), ({"more": 1}, 422),
        ({"shown": {"session": "x" * 99}}, 422),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_refused_and_not_kept(
    client: Client, change: dict[str, Any], status: int
) -> None:
    assert client.post(client.event() | change).status_code == status
    assert list(client.store.events()) == []


def test_a_huge_body_is_refused(client: Client) -> None:
    answer = client.http.post(
        "/api/answer",
        content=b"{" + b" " * 5_000_000 + b"}",
        headers=client.secret | {"Content-Type": "application/json"},
    )
    assert answer.status_code == 413


def test_a_time_that_is_too_long_is_cut(client: Client) -> None:
    client.post(client.event(elapsed_ms=10**9))
    assert next(client.store.events()).elapsed_ms == 3_600_000


# --- who is answered ---


def test_another_site_can_not_post(client: Client) -> None:
    event = client.event()
    assert client.post(event, Origin="http://evil.example").status_code == 403
    assert client.post(event, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post(event, **{"Sec-Fetch-Site": "same-site"}).status_code == 403
    assert client.http.post("/api/answer", json=event).status_code == 403, "without the secret"
    form = {"Content-Type": "text/plain"}
    assert client.http.post("/api/answer", content=b"{}", headers=form).status_code == 403
    assert list(client.store.events()) == []
    assert client.post(event, Origin="http://127.0.0.1:8085").status_code == 200


def test_another_sites_name_for_this_machine_is_refused(client: Client) -> None:
    for host in ("evil.example", "evil.example:8085", "127.0.0.1.evil.example", ""):
        assert client.http.get("/", headers={"Host": host}).status_code == 421
    assert client.http.get("/", headers={"Host": "localhost:8085"}).status_code == 200


def test_another_site_can_not_read_images_or_frame_the_page(client: Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert client.http.get("/api/image?position=0", headers=headers).status_code == 403
    page = client.http.get("/", headers=headers)
    assert page.status_code == 200, "a link opens the page"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["cross-origin-resource-policy"] == "same-origin"


def test_beyond_loopback_every_request_needs_the_token(
    make_version: MakeVersion, tmp_path: Path
) -> None:
    access = Access(hosts=(), token="right-token")
    client = Client(make_version(), tmp_path / "log.sqlite", access)
    http = client.http
    for path in ("/", "/?token=wrong", "/api/setup", "/api/image?position=0", "/static/app.js"):
        assert http.get(path).status_code == 401, path
    assert http.get("/api/setup?token=right-token").status_code == 401, "only the page takes it"
    assert http.post("/api/answer", json={}, headers=client.secret).status_code == 401
    opened = http.get("/?token=right-token", follow_redirects=False)
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    assert "HttpOnly; SameSite=Strict" in opened.headers["set-cookie"]
    assert http.get("/?token=right-token").status_code == 200
    assert client.post(client.event()).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/cli.py", "/static//etc/passwd",
        "/api/image?position=../../x", "/api/image?position=-1", "/api/image?position=1e9",
        "/api/image?position=99", "/../../etc/passwd",
    ],
)  # fmt: skip
def test_no_path_leads_out(client: Client, path: str) -> None:
    assert client.http.get(path).status_code in (404, 422)


# --- images that are gone, and many of them ---


def photo_tasks(folder: Path, log: Path, names: list[str]) -> tuple[PhotoTasks, AnswerStore]:
    from hemlets.annotation.store import FoundPerson

    store = AnswerStore(log, source=photo_source(folder))
    content = {
        "width": 80, "height": 60, "box": [0, 0, 80, 60], "joints": [[40.0, 30.0]] * 18,
        "hash": "ab" * 32, "found": True,
    }  # fmt: skip
    store.add_people(
        FoundPerson(number, f"photos/{name}/0", name, content) for number, name in enumerate(names)
    )
    return PhotoTasks(folder, store), store


def test_an_image_that_was_deleted_meanwhile_is_named_and_its_answers_stay(tmp_path: Path) -> None:
    from hemlets.data.table import encode_jpeg

    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(encode_jpeg(np.full((60, 80, 3), 90, np.uint8)))
    tasks, store = photo_tasks(folder, tmp_path / "log.sqlite", ["a.jpg"])
    asked = [question.name for question in FBI]
    store.add(
        Event(key="key-00001", task="photos/a.jpg/0", annotator="anna", kind="answer",
              question="head", value="F"), asked,
    )  # fmt: skip
    access = Access()
    http = testclient.TestClient(make_app(tasks, store, access), base_url="http://127.0.0.1")
    (folder / "a.jpg").unlink()
    gone = http.get("/api/image?position=0")
    assert (gone.status_code, gone.json()["detail"]) in [
        (400, "the image does not exist"), (404, "the image does not exist"),
    ]  # fmt: skip
    state = http.get("/api/task?position=0&annotator=anna").json()["state"]
    assert state["answers"] == {"head": "F"}


def test_a_log_edited_by_hand_can_not_send_files_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    folder = tmp_path / "photos"
    folder.mkdir()
    names = ["../secret.jpg", "/etc/passwd"]
    tasks, store = photo_tasks(folder, tmp_path / "log.sqlite", names)
    http = testclient.TestClient(make_app(tasks, store, Access()), base_url="http://127.0.0.1")
    for position in range(2):
        answer = http.get(f"/api/image?position={position}")
        assert answer.status_code in (400, 404)
        assert b"secret" not in answer.content


def test_a_request_costs_the_same_among_100_000_images(
    make_version: MakeVersion, tmp_path: Path
) -> None:
    """Count what a request reads, not how long it takes: the answer's bytes and the tasks."""
    small = Client(make_version(), tmp_path / "small.sqlite")
    sizes = []
    for position, count in ((5, len(small.tasks)), (5, 100_000)):
        asked = []

        class Many:
            source, growing = small.tasks.source, False

            def __len__(self, count: int = count) -> int:
                return count

            def task(self, position: int, asked: list[int] = asked) -> Any:
                asked.append(position)
                return small.tasks.task(position % 6)

            def names(
                self, start: int, end: int, asked: list[Any] = asked, count: int = count
            ) -> list[str]:
                asked.append(end - start)
                return [f"sample/{number % 6}" for number in range(start, min(end, count))]

            def image(self, position: int) -> bytes:
                return small.tasks.image(position % 6)

        app = make_app(Many(), small.store, small.access)
        http = testclient.TestClient(app, base_url="http://127.0.0.1")
        page = http.get("/api/task", params={"position": position, "annotator": "anna"})
        http.get("/api/next", params={"annotator": "anna", "after": position - 1})
        sizes.append((len(page.content), len(asked)))
    assert sizes[0] == sizes[1]


def test_a_folder_of_10_000_photographs_opens_at_the_last_open_one(tmp_path: Path) -> None:
    from hemlets.annotation.pictures import open_pictures, require_pictures

    folder = tmp_path / "photos"
    folder.mkdir()
    names = [f"{number:05}.jpg" for number in range(10_000)]
    for name in names:
        (folder / name).touch()
    require_pictures(folder)
    assert list(open_pictures(folder).names()) == names
    tasks, store = photo_tasks(folder, tmp_path / "log.sqlite", names)
    add_many(
        store,
        (
            Event(key=f"done-{number:05}", task=f"photos/{name}/0", annotator="anna", kind="done")
            for number, name in enumerate(names[:-1])
        ),
        [question.name for question in FBI],
    )
    http = testclient.TestClient(make_app(tasks, store, Access()), base_url="http://127.0.0.1")
    opened = http.get("/api/open?annotator=anna").json()
    assert (opened["position"], opened["finished"], opened["total"]) == (9_999, 9_999, 10_000)
    assert len(str(opened)) < 2_000, "the page gets one image, not all"
