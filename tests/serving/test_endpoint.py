"""The endpoint of a real TorchServe."""

import base64
import io
import json
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from hemlets.core.errors import ServingError
from hemlets.core.ports import free_ports
from hemlets.data.table import decode_image
from hemlets.inference.predictor import Predictor
from hemlets.inference.types import BodyEstimate, Camera, Flag, PredictionRequest
from serving.archive import build_archive
from serving.canary import CanarySample, check_endpoint
from serving.client import (
    Client,
    EndpointUnavailableError,
    ModelNotServedError,
    RequestRefusedError,
    TokenRefusedError,
)
from serving.torchserve import TorchServe

pytestmark = pytest.mark.services

BOX = (10.0, 5.0, 100.0, 85.0)
CAMERA = Camera(fx=150.0, fy=151.0, cx=60.5, cy=44.5)


def bomb(side: int) -> bytes:
    """A PNG of a few bytes whose header promises side by side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    pixels = zlib.compress(b"")
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def post(server: TorchServe, **request: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {server.token}", **request.pop("headers", {})}
    return requests.post(
        f"{server.url}/predictions/hemlets-posh", headers=headers, timeout=30, **request
    )


def assert_same(answer: BodyEstimate, expected: BodyEstimate) -> None:
    np.testing.assert_allclose(answer.joints3d_mm, expected.joints3d_mm, atol=0.05)
    np.testing.assert_allclose(answer.joints2d_px, expected.joints2d_px, atol=0.01)
    np.testing.assert_allclose(answer.theta, expected.theta, atol=1e-3)
    np.testing.assert_allclose(answer.betas, expected.betas, atol=1e-3)
    assert answer.flags == expected.flags
    assert answer.model_version == expected.model_version


def test_an_answer_equals_the_predictors(
    client: Client, predictor: Predictor, pictures: list[bytes]
):
    image = decode_image(pictures[0])
    request = PredictionRequest(image_HW3=image, box_xyxy=BOX, camera=CAMERA)
    (expected,) = predictor.predict([request])
    assert_same(client.predict(pictures[0], BOX, CAMERA), expected)


def test_what_was_assumed_is_flagged(client: Client, pictures: list[bytes]):
    answer = client.predict(pictures[1], BOX)
    assert answer.flags == (Flag.DEFAULT_FIELD_OF_VIEW,)


def test_without_boxes_everybody_is_found(client: Client, pictures: list[bytes]):
    photo = Path(__file__).parents[1] / "models/golden/two_people.png"
    first, second = client.predict_people(photo.read_bytes())
    assert first.box_xyxy[0] < 20 < 100 < second.box_xyxy[0]
    assert client.predict_people(pictures[0]) == []


def test_several_people_come_back_in_the_order_of_their_boxes(
    client: Client, predictor: Predictor, pictures: list[bytes]
):
    boxes = [BOX, (0.0, 0.0, 60.0, 90.0), (50.0, 0.0, 120.0, 80.0)]
    image = decode_image(pictures[2])
    requests_ = [PredictionRequest(image_HW3=image, box_xyxy=b, camera=CAMERA) for b in boxes]
    answers = client.predict_people(pictures[2], boxes, CAMERA)
    for answer, expected in zip(answers, predictor.predict(requests_), strict=True):
        assert_same(answer, expected)


def test_the_image_may_be_the_body(server: TorchServe, pictures: list[bytes]):
    answer = post(server, data=pictures[0], headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["model"] == {"name": "hemlets-posh", "version": "1"}


def test_bad_requests_get_their_own_message_and_the_others_of_the_batch_succeed(
    server: TorchServe, predictor: Predictor, pictures: list[bytes]
):
    good = pictures[0]
    flat = io.BytesIO()
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(flat, "GIF")
    bad = {
        "text": ({"image": b"no image at all"}, "image", "not an image"),
        "truncated": ({"image": good[: len(good) // 2]}, "image", "JPEG is cut"),
        "gif": ({"image": flat.getvalue()}, "image", "GIF can't be read"),
        "bomb": ({"image": bomb(10_000)}, "image", "10000×10000 pixels"),
        "large bomb": ({"image": bomb(50_000)}, "image", "image"),
        "nothing": ({"image": b""}, "image", "no image"),
        "outside": ({"image": good, "box": "[900, 900, 950, 950]"}, "box", "shows nothing"),
        "box NaN": ({"image": good, "box": "[NaN, 0, 5, 5]"}, "box", "not a box"),
        "camera": (
            {"image": good, "camera": '{"fx":NaN,"fy":9,"cx":0,"cy":0}'},
            "camera.fx",
            "not a focal length",
        ),
        "unknown": ({"image": good, "bbox": "[1, 2, 3, 4]"}, "request", "unknown field"),
    }
    answers: dict[str, requests.Response] = {}

    def send(name: str, fields: dict[str, object]) -> None:
        form = {k: (k if k == "image" else None, v) for k, v in fields.items()}
        answers[name] = post(server, files=form)

    jobs = [(name, fields) for name, (fields, _, _) in bad.items()]
    jobs += [(f"good {i}", {"image": pictures[i % 6], "box": json.dumps(BOX)}) for i in range(9)]
    threads = [threading.Thread(target=send, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for name, (_, where, what) in bad.items():
        assert answers[name].status_code == 400, name
        error = answers[name].json()["error"]
        assert error["where"] == where, name
        assert what in error["what"], name
        assert error["expected"], name
    for i in range(9):
        assert answers[f"good {i}"].status_code == 200
        image = decode_image(pictures[i % 6])
        (expected,) = predictor.predict([PredictionRequest(image_HW3=image, box_xyxy=BOX)])
        assert_same(BodyEstimate.from_json(answers[f"good {i}"].json()), expected)


@pytest.mark.parametrize(
    "request_",
    [
        {"data": b""},
        {"data": b'{"image": "text"}', "headers": {"Content-Type": "application/json"}},
        {"data": b"[" * 50_000, "headers": {"Content-Type": "application/json"}},
        {"data": b"\xff\xfe", "headers": {"Content-Type": "text/plain"}},
        {"data": b"\xff\xd8\xff=1&%zz=2"},
        {"data": b"", "headers": {"X-Note": b"\xff\xfe"}},
    ],
)
def test_any_other_body_is_a_bad_request_and_the_worker_survives(
    server: TorchServe, client: Client, pictures: list[bytes], request_: dict[str, object]
):
    before = server.management.describe("hemlets-posh").workers[0].pid
    assert post(server, **dict(request_)).status_code == 400
    client.predict(pictures[0], BOX)
    assert server.management.describe("hemlets-posh").workers[0].pid == before


def test_the_client_raises_what_the_endpoint_told(client: Client, pictures: list[bytes]):
    with pytest.raises(RequestRefusedError) as caught:
        client.predict(pictures[0], (900.0, 900.0, 950.0, 950.0))
    assert caught.value.where == "box"
    assert "120×90" in (caught.value.expected or "")


def test_a_request_that_is_too_large_is_refused(client: Client):
    with pytest.raises(RequestRefusedError, match="too large"):
        client.predict(bytes(40 * 2**20), BOX)


@pytest.mark.parametrize("token", [None, "wrong"])
def test_the_token_is_needed(server: TorchServe, pictures: list[bytes], token: str | None):
    with Client(server.url, token) as stranger, pytest.raises(TokenRefusedError, match="token"):
        stranger.predict(pictures[0], BOX)
    for method, path in (("GET", "/models"), ("DELETE", "/models/hemlets-posh")):
        answer = requests.request(method, server.management_url + path, timeout=60)
        assert answer.status_code == 400
        assert "Token" in answer.json()["message"]


def test_the_inference_token_opens_no_management(server: TorchServe):
    headers = {"Authorization": f"Bearer {server.token}"}
    answer = requests.get(f"{server.management_url}/models", headers=headers, timeout=60)
    assert answer.status_code == 400


def test_the_token_has_256_bits_and_is_readable_with_the_logs_by_the_owner_only(
    server: TorchServe,
):
    assert server.token is not None
    assert len(base64.urlsafe_b64decode(server.token + "=")) == 32
    assert server.folder.stat().st_mode & 0o077 == 0
    assert server.token_file.stat().st_mode & 0o077 == 0


def test_a_model_that_is_not_served_and_a_server_that_is_not_there(
    server: TorchServe, pictures: list[bytes]
):
    with server.client("other") as other, pytest.raises(ModelNotServedError):
        other.predict(pictures[0], BOX)
    nowhere = Client(f"http://127.0.0.1:{free_ports(1)[0]}")
    with nowhere, pytest.raises(EndpointUnavailableError, match="does not answer"):
        nowhere.predict(pictures[0], BOX)


def test_models_from_outside_the_store_are_refused(server: TorchServe, archive: Path):
    for url in (archive.as_uri(), "http://127.0.0.1/x.mar", "../x.mar", str(archive)):
        with pytest.raises(ServingError, match="refused"):
            server.management.register(
                url, workers=0, batch_size=1, max_batch_delay_ms=1,
                response_timeout_s=5, startup_timeout_s=5,
            )  # fmt: skip


def test_metrics_are_in_prometheus_form(server: TorchServe, client: Client, pictures: list[bytes]):
    client.predict(pictures[0], BOX)
    text = requests.get(server.metrics_url, timeout=60).text
    assert "ts_inference_requests_total" in text


def test_the_canary_passes_on_the_packaged_model_and_fails_on_other_predictions(
    client: Client, predictor: Predictor, pictures: list[bytes]
):
    samples = {
        f"sample {i}": CanarySample(image=data, box=BOX, camera=CAMERA)
        for i, data in enumerate(pictures[:3])
    }
    expected = {
        name: predictor.predict(
            [PredictionRequest(image_HW3=decode_image(s.image), box_xyxy=BOX, camera=CAMERA)]
        )[0]
        for name, s in samples.items()
    }
    result = check_endpoint(client, samples, expected)
    assert result.passed, result.summary
    expected["sample 1"], expected["sample 2"] = expected["sample 2"], expected["sample 1"]
    swapped = check_endpoint(client, samples, expected)
    assert not swapped.passed
    assert swapped.worst is not None
    assert swapped.worst.sample in ("sample 1", "sample 2")


def test_a_broken_model_is_told_with_its_log_and_leaves_the_good_one_serving(
    server: TorchServe, client: Client, model_folder: Path, pictures: list[bytes], tmp_path: Path
):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.json").write_bytes((model_folder / "model.json").read_bytes())
    (broken / "model.safetensors").write_bytes(b"damaged")
    path = build_archive(broken, tmp_path, name="broken", version="1")
    with pytest.raises(ServingError, match="the weights have SHA-256"):
        server.register(path)
    assert server.management.models() == ["hemlets-posh"]
    client.predict(pictures[0], BOX)


def test_a_second_version_can_take_over_and_the_first_be_taken_away(
    server: TorchServe, model_folder: Path, pictures: list[bytes], tmp_path: Path
):
    second = build_archive(model_folder, tmp_path, name="hemlets-posh", version="2")
    assert [w.status for w in server.register(second).workers] == ["READY"]
    assert [m.version for m in server.management.versions("hemlets-posh")] == ["1", "2"]
    server.management.scale("hemlets-posh", 0, "2")
    assert server.management.describe("hemlets-posh", "2").workers == ()
    assert server.management.describe("hemlets-posh").version == "1"
    server.unregister("hemlets-posh", "2")
    assert not (server.store / second.name).exists()
    with server.client("hemlets-posh", "1") as first:
        first.predict(pictures[0], BOX)
