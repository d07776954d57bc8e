from __future__ import annotations

import struct
import threading
import time
import warnings as python_warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import skimage
from PIL import Image, ImageCms, ImageFile, features

from edge_runtime.errors import ImageError, ImageSizeError, ImageTypeError, OptionError
from edge_runtime.headers import MAX_JPEG_SCANS, jpeg_scans, webp_size
from edge_runtime.images import Limits, decode, encode, resize_to
from edge_runtime.request import Size
from tests.hostile import pictures, profiles
from tests.hostile.pictures import encoded, png, png_chunk

LIMITS = Limits()
PHOTOS = Path(skimage.__file__).parent / "data"
BOMBS = pictures.bombs()
AVIF = [("avif", 30)] if features.check("avif") else []
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if features.check("avif") else [])]


def gradient(width: int = 48, height: int = 32) -> Image.Image:
    """A picture whose four corners all differ: red to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 64)], axis=-1).astype(np.uint8))


def rgb(data: bytes, fit: Size | None = None) -> npt.NDArray[np.int16]:
    return decode(data, LIMITS, fit).pixels[..., :3].astype(np.int16)


def one_pixel(data: bytes) -> tuple[int, ...]:
    return tuple(int(value) for value in decode(data, LIMITS).pixels[0, 0])


def psnr(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> float:
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


# --- what is read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_is_read(kind: str) -> None:
    photo = decode(encoded(gradient(), kind), LIMITS)
    assert photo.pixels.shape == (32, 48, 4)
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.flags.writeable and photo.pixels.flags.c_contiguous
    assert (photo.pixels[..., 3] == 255).all()
    assert not photo.has_alpha
    assert photo.source_format == kind.lower()
    assert photo.warnings == ()
    assert psnr(photo.pixels[..., :3], np.asarray(gradient())) > (25 if kind == "GIF" else 30)


@pytest.mark.parametrize("name", ["astronaut.png", "camera.png", "chelsea.png", "coffee.png", "retina.jpg"])
def test_photographs_come_out_as_pillow_reads_them(name: str) -> None:
    data = (PHOTOS / name).read_bytes()
    with Image.open(BytesIO(data)) as reference:
        assert np.array_equal(rgb(data), np.asarray(reference.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_kept_straight(kind: str) -> None:
    picture = gradient()
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    photo = decode(encoded(picture, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})), LIMITS)
    assert photo.has_alpha
    assert np.array_equal(photo.pixels, np.asarray(picture))


def test_alpha_that_hides_nothing_is_no_alpha() -> None:
    picture = gradient()
    picture.putalpha(255)
    assert not decode(encoded(picture, "PNG"), LIMITS).has_alpha


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(Image.new("1", (4, 4), 1), "PNG"), (255, 255, 255, 255)),
        (encoded(Image.new("1", (4, 4), 0), "TIFF"), (0, 0, 0, 255)),
        (encoded(Image.new("L", (4, 4), 77), "PNG"), (77, 77, 77, 255)),
        (encoded(Image.new("L", (4, 4), 77), "JPEG"), (77, 77, 77, 255)),
        (encoded(Image.new("L", (4, 4), 77), "PNG", transparency=77), (77, 77, 77, 0)),
        (encoded(Image.new("LA", (4, 4), (77, 9)), "PNG"), (77, 77, 77, 9)),
        (encoded(Image.new("RGB", (4, 4), (1, 2, 3)), "PNG", transparency=(1, 2, 3)), (1, 2, 3, 0)),
        (encoded(Image.new("RGB", (4, 4), (1, 2, 3)).quantize(2), "PNG"), (1, 2, 3, 255)),
        (encoded(Image.new("RGB", (4, 4), (1, 2, 3)).quantize(2), "PNG", transparency=0), (1, 2, 3, 0)),
        (encoded(Image.new("RGB", (4, 4), (1, 2, 3)).quantize(2), "PNG", transparency=b"\x80\xff"), (1, 2, 3, 128)),
        (encoded(Image.new("RGB", (4, 4), (1, 2, 3)).quantize(2), "GIF", transparency=0), (1, 2, 3, 0)),
        (encoded(Image.new("PA", (4, 4), (0, 9)), "TIFF"), (0, 0, 0, 9)),
        (encoded(Image.new("I;16", (4, 4), 0x8080), "PNG"), (128, 128, 128, 255)),
        (encoded(Image.new("I;16", (4, 4), 0xFFFF), "TIFF"), (255, 255, 255, 255)),
        (encoded(Image.new("I;16B", (4, 4), 0x4040), "TIFF"), (64, 64, 64, 255)),
        (encoded(Image.new("I", (4, 4), 0x8080), "TIFF"), (128, 128, 128, 255)),
        (encoded(Image.new("F", (4, 4), 0.5), "TIFF"), (128, 128, 128, 255)),
        (png(1, 1, b"\0\x12\x34\x80\x80\xff\xff", depth=16), (0x12, 0x80, 0xFF, 255)),
        (png(1, 1, b"\0\x12\x34\x80\x80\xff\xff\x40\x40", depth=16, colour=6), (0x12, 0x80, 0xFF, 0x40)),
        (png(1, 1, b"\0\x80\x80\x40\x40", depth=16, colour=4), (0x80, 0x80, 0x80, 0x40)),
        (png(1, 1, b"\0\x80\x80", depth=16, colour=0, chunks=png_chunk(b"tRNS", b"\x80\x80")), (128, 128, 128, 0)),
        (
            png(1, 1, b"\0\x12\x34\x80\x80\xff\xff", depth=16, chunks=png_chunk(b"tRNS", b"\x12\x34\x80\x80\xff\xff")),
            (0x12, 0x80, 0xFF, 0),
        ),
    ],
)
def test_every_pixel_mode_becomes_eight_bit_rgba(data: bytes, expected: tuple[int, ...]) -> None:
    assert one_pixel(data) == expected


def test_grey_of_sixteen_bits_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256 * 4).astype(np.uint16).reshape(4, 256)
    for kind in ("PNG", "TIFF"):
        values = rgb(encoded(Image.fromarray(ramp), kind))[..., 0]
        assert np.abs(values - ramp / 257).max() <= 0.51


def test_values_outside_the_usual_range_are_stretched_and_said() -> None:
    values = np.array([[-100.0, 0.0, 100.0, np.nan]], np.float32)
    photo = decode(encoded(Image.fromarray(values), "TIFF"), LIMITS)
    assert photo.pixels[0, :, 0].tolist() == [0, 128, 255, 128]
    assert "stretched" in photo.warnings[0]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", *(["AVIF"] if features.check("avif") else [])])
def test_first_frame_of_several(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    photo = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:]), LIMITS)
    assert photo.pixels[0, 0, 0] > 240 and photo.pixels[0, 0, 1] < 15
    assert photo.warnings == ("Only the first frame of the picture was read",)


def test_second_frame_of_a_gif_may_be_damaged() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert one_pixel(data[: data.rindex(b",") + 4])[0] > 240


def test_photo_with_a_second_picture_behind_it_is_a_jpeg() -> None:
    data = encoded(gradient(), "MPO", save_all=True, append_images=[gradient()])
    assert decode(data, LIMITS).source_format == "jpeg"
    assert np.array_equal(rgb(data), rgb(encoded(gradient(), "JPEG")))


# --- orientation ----------------------------------------------------------------------------------------------------

UPRIGHT: dict[int, Callable[[npt.NDArray[np.int16]], npt.NDArray[np.int16]]] = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", *(["AVIF"] if features.check("avif") else [])])
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = rgb(encoded(gradient(), kind, exif=exif))
    expected = UPRIGHT[orientation](np.asarray(gradient()).astype(np.int16))
    assert turned.shape == expected.shape
    assert psnr(turned, expected) > 30


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG"])
def test_the_box_is_that_of_the_upright_picture(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(gradient(480, 320), kind, exif=exif)
    shape = decode(data, LIMITS, Size(width=100, height=120)).pixels.shape
    assert shape[:2] == ((67, 100) if orientation == 1 else (120, 80))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0" + b"\xff" * 200, b"rubbish"]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_matter(kind: str, exif: bytes) -> None:
    assert decode(encoded(gradient(), kind, exif=exif), LIMITS).pixels.shape == (32, 48, 4)


def test_unreadable_exif_is_said() -> None:
    photo = decode(encoded(gradient(), "JPEG", exif=b"Exif\0\0XX*\0 rubbish"), LIMITS)
    assert photo.warnings == ("The picture's EXIF data is damaged and was ignored",)


def test_orientation_that_does_not_exist_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    assert decode(encoded(gradient(), "JPEG", exif=exif), LIMITS).pixels.shape == (32, 48, 4)


# --- colour ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [profiles.display_p3(), profiles.adobe_rgb()])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_wide_gamut_becomes_srgb(kind: str, profile: bytes) -> None:
    picture = Image.new("RGB", (16, 16), (60, 180, 60))
    photo = decode(encoded(picture, kind, icc_profile=profile), LIMITS)
    red, green, blue = photo.pixels[0, 0, :3].tolist()
    assert red < 45 and 175 <= green <= 190 and blue < 60  # the same green needs less red in a narrower space
    assert photo.warnings == ()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_survives_the_profile(mode: str) -> None:
    picture = Image.new(mode, (4, 4), (60, 180, 60, 99) if mode == "RGBA" else (128, 99))
    profile = profiles.display_p3() if mode == "RGBA" else profiles.grey(1.0)
    pixel = one_pixel(encoded(picture, "PNG", icc_profile=profile))
    assert pixel[3] == 99
    assert pixel[0] < 45 if mode == "RGBA" else pixel[0] == pytest.approx(188, abs=2)


def test_srgb_profile_changes_no_bit() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(rgb(encoded(gradient(), "PNG", icc_profile=profile)), np.asarray(gradient()))


def test_linear_grey_profile_brightens() -> None:
    data = encoded(Image.new("L", (4, 4), 128), "PNG", icc_profile=profiles.grey(1.0))
    assert one_pixel(data)[:3] == pytest.approx((188, 188, 188), abs=2)  # 0.5 linear is 188 in sRGB


def test_grey_photo_with_the_cameras_rgb_profile() -> None:
    data = encoded(Image.new("L", (16, 16), 128), "JPEG", icc_profile=profiles.adobe_rgb())
    photo = decode(data, LIMITS)
    assert photo.warnings == ()
    assert photo.pixels[0, 0, :3].tolist() == pytest.approx([128, 128, 128], abs=2)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_by_its_profile(kind: str) -> None:
    profile = profiles.cmyk()
    cyan = decode(encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), kind, icc_profile=profile), LIMITS)
    assert cyan.warnings == ()
    assert cyan.pixels[0, 0, 0] < 40 and 100 < cyan.pixels[0, 0, 1] < 170  # ink's cyan, not the screen's (0, 255, 255)
    white = one_pixel(encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), kind, icc_profile=profile))
    black = one_pixel(encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 255)), kind, icc_profile=profile))
    assert min(white[:3]) > 230 and max(black[:3]) < 60


def test_cmyk_without_a_profile_is_the_right_way_round() -> None:
    data = encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG")
    assert b"Adobe" in data[:64]  # Adobe's convention: stored inverted
    photo = decode(data, LIMITS)
    assert photo.pixels[0, 0, :3].tolist() == [255, 255, 255]
    assert "approximate" in photo.warnings[0]


@pytest.mark.parametrize(
    "profile",
    [b"rubbish" * 40, profiles.cmyk(), profiles.grey(2.2), profiles.display_p3()[:150], profiles.cmyk()[:900]],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_profile_that_is_damaged_or_does_not_fit_is_said(kind: str, profile: bytes) -> None:
    photo = decode(encoded(gradient(), kind, icc_profile=profile), LIMITS)
    assert psnr(photo.pixels[..., :3], np.asarray(gradient())) > 30
    assert len(photo.warnings) == 1 and "profile" in photo.warnings[0]


def test_profile_whose_compression_is_damaged() -> None:
    rows = b"\0\x01\x02\x03"
    photo = decode(png(1, 1, rows, chunks=png_chunk(b"iCCP", b"x\0\0not zlib")), LIMITS)
    assert photo.pixels[0, 0].tolist() == [1, 2, 3, 255]
    assert "profile" in photo.warnings[0]


# --- fit ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("box", "shape"), [((100, 100), (67, 100)), ((600, 100), (100, 150)), ((900, 900), (320, 480))]
)
def test_fit_shrinks_and_never_enlarges(kind: str, box: tuple[int, int], shape: tuple[int, int]) -> None:
    photo = decode(encoded(gradient(480, 320), kind), LIMITS, Size(width=box[0], height=box[1]))
    assert photo.pixels.shape[:2] == shape


def test_fit_keeps_one_pixel_of_a_thin_picture() -> None:
    data = encoded(Image.new("RGB", (4000, 3)), "PNG")
    assert decode(data, LIMITS, Size(width=16, height=16)).pixels.shape == (1, 16, 4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_fit_is_close_to_the_best_resampling(kind: str) -> None:
    with Image.open(PHOTOS / "astronaut.png") as opened:
        photo = opened.convert("RGB")
    best = np.asarray(photo.resize((200, 200), Image.Resampling.LANCZOS))
    data = encoded(photo, kind, **({"quality": 95} if kind == "JPEG" else {}))
    assert psnr(rgb(data, Size(width=200, height=200)), best) > 35


def test_hidden_colours_do_not_bleed_when_shrunk() -> None:
    picture = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 30, 64))
    pixels = decode(encoded(picture, "PNG"), LIMITS, Size(width=16, height=16)).pixels
    assert pixels[pixels[..., 3] > 8][:, 0].max() < 16


# --- what is refused ------------------------------------------------------------------------------------------------


def test_empty() -> None:
    with pytest.raises(ImageError, match="empty") as caught:
        decode(b"", LIMITS)
    assert caught.value.status == 400


def test_file_of_too_many_bytes() -> None:
    with pytest.raises(ImageSizeError, match="1001 bytes.*up to 1000") as caught:
        decode(bytes(1001), Limits(max_bytes=1000))
    assert caught.value.status == 413


@pytest.mark.parametrize("name", pictures.no_pictures())
def test_types_that_are_not_read(name: str) -> None:
    with pytest.raises(ImageTypeError, match=f"(?i){name}.*Allowed: JPEG, PNG") as caught:
        decode(pictures.no_pictures()[name], LIMITS)
    assert caught.value.status == 415


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_by_their_header(name: str) -> None:
    bomb = BOMBS[name]
    started = time.monotonic()
    with python_warnings.catch_warnings(), pytest.raises(ImageSizeError):
        python_warnings.simplefilter("ignore")
        decode(bomb, LIMITS)
    assert time.monotonic() - started < 2


def test_pillows_warning_is_an_error_where_the_process_makes_it_one() -> None:
    with python_warnings.catch_warnings(), pytest.raises(ImageSizeError):
        python_warnings.simplefilter("error")
        decode(pictures.gif(16, 16, frame=(10_000, 10_000)), LIMITS)


def test_the_limit_in_pixels_is_ours_and_exact() -> None:
    data = encoded(Image.new("L", (100, 100)), "PNG")
    assert decode(data, Limits(max_pixels=10_000)).pixels.shape == (100, 100, 4)
    with pytest.raises(ImageSizeError, match="100 x 100.*up to 9999"):
        decode(data, Limits(max_pixels=9_999))


def test_no_process_wide_setting_is_touched() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(python_warnings.filters))
    decode(encoded(gradient(), "PNG"), LIMITS)
    with pytest.raises(ImageError):
        decode(encoded(gradient(), "PNG")[:-40], LIMITS)
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(python_warnings.filters)) == before


@pytest.mark.parametrize("data", [png(0, 0, b""), png(0, 5, b""), pictures.bmp(0, 0), pictures.tiff(0, 0)])
def test_no_pixels_at_all(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data, LIMITS)
    assert caught.value.status == 400 and caught.value.__cause__ is not None


def test_jpeg_of_a_thousand_scans_is_refused_at_once() -> None:
    data = pictures.jpeg_of_many_scans(gradient(), 1000)
    with pytest.raises(ImageError, match="scans"):
        decode(data, LIMITS)


def test_jpeg_of_as_many_scans_as_encoders_write() -> None:
    assert jpeg_scans(encoded(gradient(), "JPEG", progressive=True, subsampling=0)) < MAX_JPEG_SCANS
    data = pictures.jpeg_of_many_scans(gradient(), MAX_JPEG_SCANS - 10)
    assert decode(data, LIMITS).pixels.shape == (32, 48, 4)


def test_tile_larger_than_the_picture() -> None:
    assert decode(pictures.tiff_of_one_tile(64), LIMITS).pixels.shape == (16, 16, 4)


def test_film_behind_a_photo_is_no_scan() -> None:
    data = encoded(gradient(), "JPEG", progressive=True) + b"\xff\xda" * 1000
    assert jpeg_scans(data) == 10
    assert decode(data, LIMITS).pixels.shape == (32, 48, 4)


def test_text_that_unpacks_to_a_flood_is_refused() -> None:
    flood = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000)))
    with pytest.raises(ImageError):
        decode(png(1, 1, b"\0\1\2\3", chunks=flood), LIMITS)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files_are_refused(kind: str) -> None:
    data = encoded(gradient(), kind)
    whole, refused = rgb(data), 0
    for cut in pictures.truncated(data, 60):
        try:
            assert np.array_equal(rgb(cut), whole)  # cut in what follows the pixels
        except ImageError as error:
            assert error.status in (400, 415)
            refused += 1
    assert refused >= 50


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_raise_our_errors_only_and_soon(kind: str) -> None:
    profile = profiles.display_p3()
    options = {} if kind in ("GIF", "BMP") else {"icc_profile": profile}
    data = encoded(gradient(), kind, **options)
    started = time.monotonic()
    for copy in pictures.damaged(data, 300, seed=len(kind)):
        try:
            photo = decode(copy, Limits(max_pixels=1_000_000), Size(width=32, height=32))
        except ImageError:
            continue
        assert max(photo.pixels.shape[:2]) <= 32
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("mode", "profile", "count"), [("RGB", profiles.adobe_rgb(), 150), ("CMYK", profiles.cmyk(), 15)]
)
def test_damaged_profiles_are_said_or_used(mode: str, profile: bytes, count: int) -> None:
    picture = Image.new(mode, (8, 8), "red")
    for copy in pictures.damaged(profile, count, seed=1):
        assert decode(encoded(picture, "JPEG", icc_profile=copy), LIMITS).pixels.shape == (8, 8, 4)


def test_threads_do_not_disturb_each_other() -> None:
    good, bad = encoded(gradient(), "PNG"), encoded(gradient(), "PNG")[:-60]
    results: list[bool] = []

    def work() -> None:
        for _ in range(20):
            results.append(np.array_equal(rgb(good), np.asarray(gradient())))
            with pytest.raises(ImageError):
                decode(bad, LIMITS)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 80


# --- encoding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("output_format", "least"), [("jpeg", 30), ("webp", 30), ("png", 90), *AVIF])
def test_what_is_encoded_comes_back(output_format: str, least: float) -> None:
    pixels = decode((PHOTOS / "chelsea.png").read_bytes(), LIMITS).pixels
    data, media_type, warnings = encode(pixels, False, output_format, 90)
    assert media_type == f"image/{output_format}"
    assert warnings == ()
    assert psnr(decode(data, LIMITS).pixels, pixels) > least


@pytest.mark.parametrize("output_format", ["webp", "png", *(name for name, _ in AVIF)])
def test_transparency_is_written(output_format: str) -> None:
    pixels = np.full((8, 8, 4), 200, np.uint8)
    assert decode(encode(pixels, True, output_format)[0], LIMITS).pixels[0, 0, 3] == 200


def test_jpeg_of_a_transparent_picture_is_put_on_white() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    data, _, warnings = encode(pixels, True, "jpeg")
    assert "white" in warnings[0]
    assert (decode(data, LIMITS).pixels == 255).all()


def test_opaque_pictures_get_no_alpha_plane() -> None:
    pixels = np.full((8, 8, 4), 255, np.uint8)
    for has_alpha in (True, False):
        with Image.open(BytesIO(encode(pixels, has_alpha, "png")[0])) as picture:
            assert picture.mode == "RGB"
        assert encode(pixels, has_alpha, "jpeg")[2] == ()


@pytest.mark.parametrize("output_format", ["jpeg", "webp", "png", *(name for name, _ in AVIF)])
def test_no_place_survives(output_format: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010E] = "a secret"
    data = encoded(gradient(), "JPEG", exif=exif, comment=b"a secret", icc_profile=profiles.adobe_rgb())
    photo = decode(data, LIMITS)
    data = encode(photo.pixels, False, output_format)[0]
    assert b"secret" not in data and b"Exif" not in data
    with Image.open(BytesIO(data)) as picture:
        assert not {"exif", "icc_profile", "comment", "xmp"} & set(picture.info)


def test_jpeg_is_subsampled_and_smaller_at_lower_quality() -> None:
    pixels = decode((PHOTOS / "coffee.png").read_bytes(), LIMITS).pixels
    sizes = [len(encode(pixels, False, "jpeg", quality)[0]) for quality in (1, 50, 100)]
    assert sizes == sorted(sizes)
    data = encode(pixels, False, "jpeg", 90)[0]
    frame = data.index(b"\xff\xc0")
    assert data[frame + 11] == 0x22  # luma has twice the samples of chroma, in both directions


def test_pixels_that_are_a_view_are_encoded() -> None:
    pixels = decode((PHOTOS / "coffee.png").read_bytes(), LIMITS).pixels[::2, 10:200]
    assert np.array_equal(decode(encode(pixels, False, "png")[0], LIMITS).pixels, pixels)


@pytest.mark.parametrize(("output_format", "quality"), [("gif", 90), ("JPEG", 90), ("jpeg", 0), ("jpeg", 101)])
def test_options_that_are_not_available(output_format: str, quality: int) -> None:
    with pytest.raises(OptionError):
        encode(np.zeros((4, 4, 4), np.uint8), False, output_format, quality)


def test_sides_that_a_format_can_not_hold() -> None:
    with pytest.raises(OptionError, match="WebP can't hold"):
        encode(np.zeros((1, 16_384, 4), np.uint8), False, "webp")


@pytest.mark.parametrize("pixels", [np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4, 4), np.uint8), np.zeros((4, 4, 4))])
def test_pixels_of_another_shape_or_type(pixels: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="uint8"):
        encode(pixels, False, "png")


# --- resizing -------------------------------------------------------------------------------------------------------


def test_resize_is_exact_and_antialiased() -> None:
    board = np.zeros((64, 64, 4), np.uint8)
    board[::2, ::2, :3] = board[1::2, 1::2, :3] = 255
    small = resize_to(board, 8, 4)
    assert small.shape == (4, 8, 4)
    assert np.abs(small[..., :3].astype(int) - 128).max() <= 2
    assert (small[..., 3] == 255).all()


def test_resize_with_alpha_does_not_mix_hidden_colours() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (0, 0, 255, 255)
    pixels[:, 4:] = (255, 0, 0, 0)
    small = resize_to(pixels, 3, 3, has_alpha=True)
    assert small[..., 0].max() == 0 and 0 < small[1, 1, 3] < 255


def test_resize_to_nothing() -> None:
    with pytest.raises(ImageError):
        resize_to(np.zeros((4, 4, 4), np.uint8), 0, 4)


def test_webp_sizes_in_the_header_agree_with_pillow() -> None:
    for options in ({"lossless": True}, {"quality": 50}, {"exif": struct.pack("<I", 0)}):
        assert webp_size(encoded(gradient(123, 45), "WEBP", **options)) == (123, 45)
