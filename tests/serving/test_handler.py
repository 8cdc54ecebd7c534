import base64
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hemlets.core.errors import InputError
from hemlets.inference.people import Detection
from hemlets.inference.prediction_log import PredictionLog, read_log
from hemlets.inference.predictor import Predictor
from hemlets.inference.request import MOST_BOXES
from hemlets.inference.types import BodyEstimate
from serving.handler import PoseHandler

BOX = b"[10, 0, 110, 90]"


class Context:
    """TorchServe's context as far as the handler uses it."""

    def __init__(self, folder: Path):
        self.system_properties = {"model_dir": str(folder), "gpu_id": None}
        self.manifest = {"model": {"modelName": "hemlets-posh", "modelVersion": "1"}}
        self.status: dict[int, int] = {}
        self.types: dict[int, str] = {}

    def get_request_id(self, idx: int) -> str:
        return f"id-{idx}"

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.types[idx] = value

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        self.status[idx] = code


class Nobody:
    """A detector for requests that say where people are."""

    def detect(self, image_HW3):
        return []


@pytest.fixture
def context(model_folder: Path) -> Context:
    return Context(model_folder)


@pytest.fixture(scope="module")
def handler(model_folder: Path) -> PoseHandler:
    return PoseHandler.load(Context(model_folder))


@pytest.fixture
def picture(pictures: list[bytes]) -> bytes:
    return pictures[0]


BAD_FIELDS = {
    "box text": ({"box": b"left"}, "box", "not JSON"),
    "box of three": ({"box": b"[1, 2, 3]"}, "box", "not a box"),
    "box of text": ({"box": b'["1", 2, 3, 4]'}, "box", "not a box"),
    "box of booleans": ({"box": b"[false, false, true, true]"}, "box", "not a box"),
    "box NaN": ({"box": b"[NaN, 0, 10, 10]"}, "box", "not a box"),
    "box infinite": ({"box": b"[0, 0, Infinity, 10]"}, "box", "not a box"),
    "box beyond floats": ({"box": b"[0, 0, 1" + b"0" * 400 + b", 10]"}, "box", "not a box"),
    "box mirrored": ({"box": b"[50, 0, 10, 10]"}, "box", "not a box"),
    "box empty": ({"box": b"[10, 10, 10, 20]"}, "box", "not a box"),
    "box outside": ({"box": b"[500, 500, 600, 600]"}, "box", "shows nothing"),
    "box not UTF-8": ({"box": b"\xff\xfe\xfd"}, "box", "not JSON"),
    "box nested": ({"box": b"[" * 100_000}, "box", "not JSON"),
    "boxes number": ({"boxes": b"3"}, "boxes", "not a list"),
    "boxes empty": ({"boxes": b"[]"}, "boxes", "not a list"),
    "boxes too many": ({"boxes": json.dumps([[0, 0, 9, 9]] * (MOST_BOXES + 1))}, "boxes", "list"),
    "boxes one bad": ({"boxes": b"[[0,0,9,9],[1,2]]"}, "boxes[1]", "not a box"),
    "both": ({"box": b"[0,0,9,9]", "boxes": b"[[0,0,9,9]]"}, "boxes", "both"),
    "camera NaN": ({"camera": b'{"fx":NaN,"fy":1,"cx":0,"cy":0}'}, "camera.fx", "focal length"),
    "camera beyond float32": (
        {"camera": b'{"fx":900,"fy":1e-40,"cx":0,"cy":0}'},
        "camera.fy",
        "not a focal length: 1e-40",
    ),
    "camera centre": ({"camera": b'{"fx":9,"fy":9,"cx":NaN,"cy":0}'}, "camera", "camera"),
    "camera part": ({"camera": b'{"fx":1}'}, "camera", "not a camera"),
    "camera negative": ({"camera": b'{"fx":-1,"fy":1,"cx":0,"cy":0}'}, "camera.fx", "focal"),
    "camera list": ({"camera": b"[1,1,0]"}, "camera", "not a camera"),
    "unknown field": ({"bbox": b"[0,0,9,9]"}, "request", "unknown field 'bbox'"),
}


@pytest.mark.parametrize("case", BAD_FIELDS)
def test_a_wrong_field_is_refused_by_name(handler: PoseHandler, picture: bytes, case: str):
    fields, where, what = BAD_FIELDS[case]
    with pytest.raises(InputError) as caught:
        handler.decode({"image": bytearray(picture), **fields})
    assert caught.value.where == where
    assert what in caught.value.what
    assert caught.value.expected
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["image", "data", "body"])
def test_the_image_may_come_as_a_field_or_as_the_body(
    handler: PoseHandler, picture: bytes, name: str
):
    (request,) = handler.decode({name: bytearray(picture), "box": BOX}).people
    assert request.image_HW3.shape == (90, 120, 3)
    assert request.box_xyxy == (10.0, 0.0, 110.0, 90.0)


def test_fields_that_the_server_has_already_parsed_are_taken_too(
    handler: PoseHandler, picture: bytes
):
    box = [1, 2, 30, 40]
    parsed = handler.decode({"image": picture, "box": box}).people[0]
    text = handler.decode({"image": picture, "box": json.dumps(box)}).people[0]
    assert parsed.box_xyxy == text.box_xyxy == (1.0, 2.0, 30.0, 40.0)


# A tenth of, and a hundred times, the longer side of 120 pixels.
@pytest.mark.parametrize("focal_px", [12, 12_000])
def test_any_focal_length_that_is_taken_gives_finite_numbers(
    handler: PoseHandler, picture: bytes, focal_px: float, context: Context
):
    camera = json.dumps({"fx": focal_px, "fy": focal_px, "cx": 60, "cy": 45})
    (answer,) = handler.handle([{"image": picture, "box": BOX, "camera": camera}], context)
    assert context.status == {}
    assert np.isfinite(json.loads(answer)["root_mm"]).all()


def test_a_box_may_reach_beyond_the_image(handler: PoseHandler, picture: bytes):
    (request,) = handler.decode({"image": picture, "box": b"[-20, -10, 60, 100]"}).people
    assert request.box_xyxy == (-20.0, -10.0, 60.0, 100.0)


def test_good_requests_are_answered_beside_bad_ones(
    handler: PoseHandler, predictor: Predictor, context: Context, pictures: list[bytes]
):
    batch = [
        {"image": pictures[0], "box": BOX},
        {"image": b"not an image"},
        {"image": pictures[1], "boxes": b"[[0,0,60,80],[30,10,100,80]]"},
        {"image": pictures[2], "box": b"[9000,0,9001,1]"},
        {},
        {"image": pictures[3], "box": b"[10,0,110,90]"},
    ]
    answers = [json.loads(text) for text in handler.handle(batch, context)]

    assert context.status == {1: 400, 3: 400, 4: 400}
    assert set(context.types.values()) == {"application/json"}
    assert answers[4]["error"]["what"] == "the request has no image"
    assert len(answers[2]["people"]) == 2
    assert answers[5]["box_xyxy_px"] == [10, 0, 110, 90]
    assert answers[0]["model"] == {"name": "hemlets-posh", "version": "1"}
    alone = predictor.predict(list(handler.decode(batch[2]).people))[1]
    served = BodyEstimate.from_json(answers[2]["people"][1])
    np.testing.assert_allclose(served.joints3d_mm, alone.joints3d_mm, atol=0.05)


def test_answered_people_are_logged_and_nothing_of_bad_requests(
    predictor: Predictor, context: Context, picture: bytes, tmp_path: Path
):
    log = PredictionLog(tmp_path / "log", share=1.0)
    handler = PoseHandler(predictor, Nobody(), name="m", version="7", log=log)
    asked = [{"image": picture, "boxes": "[[5, 5, 60, 80], [9, 9, 70, 80]]"}, {"image": b"no"}]
    handler.handle(asked, context)
    log.flush()
    found = read_log(tmp_path / "log")
    assert list(found["version"]) == ["7", "7"]
    assert list(found["people"]) == [2, 2]


def test_what_the_predictor_refuses_is_a_bad_request_without_its_place_in_the_batch(
    handler: PoseHandler, context: Context, pictures: list[bytes]
):
    tiny = {"image": pictures[1], "boxes": b"[[0,0,60,80],[50,50,52,52]]"}
    good, bad = handler.handle([{"image": pictures[0], "box": BOX}, tiny], context)
    assert context.status == {1: 400}
    assert "joints3d_mm" in good
    assert json.loads(bad)["error"]["where"] == "boxes[1]: box"


def test_an_inner_fault_fails_its_own_request_alone_and_tells_no_path(
    predictor: Predictor, context: Context, pictures: list[bytes], caplog
):
    class Faulty:
        version = "faulty"

        def predict(self, requests):
            if any(r.box_xyxy == (1.0, 2.0, 30.0, 40.0) for r in requests):
                raise RuntimeError("broken at /secret/path")
            return predictor.predict(requests)

    handler = PoseHandler(Faulty(), Nobody(), name="m", version="1")
    batch = [
        {"image": pictures[0], "box": BOX},
        {"image": pictures[1], "box": b"[1,2,30,40]"},
    ]
    good, bad = handler.handle(batch, context)
    assert context.status == {1: 500}
    assert "joints3d_mm" in json.loads(good)
    assert "/secret" not in bad
    assert "request id-1" in bad
    assert "/secret/path" in caplog.text


def test_a_prediction_that_is_not_finite_is_an_error_and_not_invalid_json(
    predictor: Predictor, context: Context, pictures: list[bytes]
):
    class Diverged:
        version = "diverged"

        def predict(self, requests):
            answers = predictor.predict(requests)
            answers[0].theta[3, 1] = np.nan
            return answers

    handler = PoseHandler(Diverged(), Nobody(), name="m", version="1")
    handler.handle([{"image": pictures[0], "box": BOX}], context)
    assert context.status == {0: 500}


def test_a_confidence_that_the_model_cannot_tell_is_null(
    handler: PoseHandler, predictor: Predictor, pictures: list[bytes]
):
    decoded = handler.decode({"image": pictures[0], "box": BOX})
    (estimate,) = predictor.predict(list(decoded.people))
    estimate.confidence[:] = np.nan
    answer = json.loads(handler.encode(decoded, [estimate]))
    assert answer["confidence"] == [None] * 18
    assert np.isnan(BodyEstimate.from_json(answer).confidence).all()


class TestFinding:
    """Without boxes everybody is found."""

    def test_people_come_back_as_the_detector_orders_them(
        self, predictor: Predictor, context: Context, picture: bytes
    ):
        class Two:
            def detect(self, image_HW3):
                return [
                    Detection(box_xyxy=(30.0, 10.0, 100.0, 80.0), score=0.75),
                    Detection(box_xyxy=(0.0, 0.0, 60.0, 80.0), score=0.5, missing=("nose",)),
                ]

        handler = PoseHandler(predictor, Two(), name="m", version="1")
        (answer,) = handler.handle([{"image": picture}], context)
        first, second = json.loads(answer)["people"]
        assert first["box_xyxy_px"] == [30, 10, 100, 80]
        assert (first["detection_score"], second["detection_score"]) == (0.75, 0.5)
        assert "missing-joints" not in first["flags"]
        assert "missing-joints" in second["flags"]
        assert "whole-image-box" not in first["flags"]

    def test_a_picture_of_nobody_is_an_empty_list(
        self, handler: PoseHandler, context: Context, picture: bytes
    ):
        (answer,) = handler.handle([{"image": picture}], context)
        assert context.status == {}
        assert json.loads(answer) == {
            "people": [],
            "model": {"name": "hemlets-posh", "version": "1"},
        }

    def test_the_bundled_detector_finds_people(self, handler: PoseHandler):
        photo = Path(__file__).parents[1] / "models/golden/two_people.png"
        assert len(handler.decode({"image": photo.read_bytes()}).people) == 2

    def test_of_a_crowd_the_largest_are_answered(self, predictor: Predictor, picture: bytes):
        class Crowd:
            def detect(self, image_HW3):
                return [Detection(box_xyxy=(0.0, 0.0, 90.0 - i / 10, 90.0)) for i in range(500)]

        handler = PoseHandler(predictor, Crowd(), name="m", version="1")
        people = handler.decode({"image": picture}).people
        assert [p.box_xyxy[2] for p in people[:2]] == [90.0, 89.9]
        assert len(people) == 64


def test_the_module_offers_torchserve_one_entry_point(context: Context, monkeypatch):
    from serving import handler as module

    monkeypatch.setattr(module, "_handler", None)
    monkeypatch.setattr(
        module.PoseHandler, "load", lambda _: SimpleNamespace(handle=lambda data, _: ["answer"])
    )
    assert module.handle(None, context) is None
    assert module.handle([{}], context) == ["answer"]


class TestBudget:
    """A batch that takes too long loses its later requests, not the worker."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [0.0]
        monkeypatch.setattr("serving.handler.time.monotonic", lambda: now[0])
        return now

    @pytest.fixture
    def slow(self, predictor: Predictor, clock: list[float]) -> PoseHandler:
        class Slow:
            def predict(self, requests):
                clock[0] += 0.6 * len(requests)
                return predictor.predict(requests)

        return PoseHandler(Slow(), Nobody(), name="m", version="1", budget_s=10.0)

    def test_requests_beyond_it_get_503_and_the_first_are_answered(
        self, slow: PoseHandler, context: Context, picture: bytes
    ):
        eight = json.dumps([[0, 0, 30, 30]] * 8).encode()
        answers = slow.handle([{"image": picture, "boxes": eight}] * 3, context)
        assert context.status == {2: 503}
        assert len(json.loads(answers[1])["people"]) == 8
        assert "busy" in json.loads(answers[2])["error"]["what"]

    def test_a_prediction_that_would_end_after_it_is_not_begun(
        self, slow: PoseHandler, context: Context, picture: bytes, clock: list[float]
    ):
        eight = json.dumps([[0, 0, 30, 30]] * 8).encode()
        slow.handle([{"image": picture, "boxes": eight}] * 8, context)
        assert clock[0] <= slow.budget_s

    def test_people_who_take_long_are_predicted_few_at_once(
        self, slow: PoseHandler, context: Context, picture: bytes, clock: list[float]
    ):
        # The machine becomes ten times slower once a prediction has begun.
        sizes: list[int] = []
        quick = slow.predictor.predict

        def predict(requests):
            sizes.append(len(requests))
            clock[0] += 0.0 if len(sizes) < 9 else 5.4 * len(requests)
            return quick(requests)

        slow.predictor.predict = predict
        many = json.dumps([[0, 0, 30, 30]] * MOST_BOXES).encode()
        slow.handle([{"image": picture, "boxes": many}], context)
        assert sizes[:3] == [1, 2, 2]
        assert clock[0] < 3 * slow.budget_s
        assert context.status == {0: 503}

    def test_quick_people_are_predicted_eight_at_once(
        self, slow: PoseHandler, context: Context, picture: bytes, predictor: Predictor
    ):
        sizes: list[int] = []
        slow.predictor.predict = lambda given: (sizes.append(len(given)), predictor.predict(given))[
            1
        ]
        many = json.dumps([[0, 0, 30, 30]] * MOST_BOXES).encode()
        slow._person_s = 0.1
        slow.handle([{"image": picture, "boxes": many}], context)
        assert sizes[0] == 8
        assert context.status == {}

    def test_of_one_image_only_the_first_people_are_looked_at_again(
        self, handler: PoseHandler, picture: bytes
    ):
        many = json.dumps([[0, 0, 30, 30]] * MOST_BOXES).encode()
        people = handler.decode({"image": picture, "boxes": many}).people
        allowed = [person.second_look for person in people]
        assert allowed == [True] * 8 + [False] * (MOST_BOXES - 8)

    def test_a_first_request_that_would_cost_the_worker_its_life_is_put_off(
        self, slow: PoseHandler, context: Context, picture: bytes
    ):
        slow.budget_s = 6.0
        many = json.dumps([[0, 0, 30, 30]] * MOST_BOXES).encode()
        slow.handle([{"image": picture, "boxes": many}], context)
        assert context.status == {0: 503}

    def test_the_first_request_may_take_longer_than_the_budget(
        self, slow: PoseHandler, context: Context, picture: bytes
    ):
        many = json.dumps([[0, 0, 30, 30]] * MOST_BOXES).encode()
        (answer, second) = slow.handle(
            [{"image": picture, "boxes": many}, {"image": picture, "box": BOX}], context
        )
        assert context.status == {1: 503}
        assert len(json.loads(answer)["people"]) == MOST_BOXES
        assert "busy" in second

    def test_images_beyond_it_are_not_even_decoded(
        self, slow: PoseHandler, context: Context, picture: bytes, clock: list[float], monkeypatch
    ):
        decoded = []

        def decode(fields):
            decoded.append(fields)
            clock[0] += 11.0
            return PoseHandler.decode(slow, fields)

        monkeypatch.setattr(slow, "decode", decode)
        slow.handle([{"image": picture}] * 3, context)
        assert len(decoded) == 1
        assert context.status == {1: 503, 2: 503}


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (lambda jpeg: base64.b64encode(jpeg), "base64"),
        (lambda jpeg: base64.encodebytes(jpeg), "base64"),
        (lambda jpeg: b"data:image/jpeg;base64," + base64.b64encode(jpeg), "base64"),
        (lambda jpeg: json.dumps({"data": base64.b64encode(jpeg).decode()}).encode(), "JSON"),
        (lambda jpeg: json.dumps([1, 2]).encode(), "JSON"),
        (lambda jpeg: {"b64": "x"}, "JSON"),
        (lambda jpeg: b"", "no image"),
    ],
)
def test_an_image_that_is_sent_in_another_way_is_answered_with_how_to_send_it(
    handler: PoseHandler, context: Context, picture: bytes, body, what: str
):
    (answer,) = handler.handle([{"body": body(picture)}], context)
    assert context.status == {0: 400}
    error = json.loads(answer)["error"]
    assert what in error["what"]
    assert "curl -F image=@photo.jpg" in error["remedy"]


@pytest.mark.parametrize(
    ("camera", "fault"),
    [
        ([0.9, 1.2, 0.5, 0.5], "focal length"),
        ([1.1, 1.1, 60, 45], "focal length"),
        ([150, 150, 0.5, 0.5], "normalised"),
        ([150, 150, 5000, 45], "far from an image"),
        ([150, 150, 60, -5000], "far from an image"),
        ([20_000, 20_000, 60, 45], "not in pixels"),
    ],
)
def test_a_camera_that_is_not_in_the_images_pixels_is_refused_with_what_it_looks_like(
    handler: PoseHandler, picture: bytes, context: Context, camera: list[float], fault: str
):
    fields = json.dumps(dict(zip(("fx", "fy", "cx", "cy"), camera, strict=True)))
    (answer,) = handler.handle([{"image": picture, "box": BOX, "camera": fields}], context)
    assert context.status == {0: 400}
    error = json.loads(answer)["error"]
    assert fault in error["what"]
    assert "camera" in error["where"]
