"""Decoding: every kind of picture file comes out right, window or whole."""

import functools
import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from efficientnetv2.data import decoding

HEIGHT, WIDTH = 48, 64
WINDOW = (5, 9, 20, 33)  # top, left, height, width
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def pixels():
    """uint8 [48, 64, 3], smooth, every corner another colour."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    red, green = 255 * x / (WIDTH - 1), 255 * y / (HEIGHT - 1)
    blue = 255 - (red + green) / 2
    return np.stack([red, green, blue], -1).astype(np.uint8)


def _encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _palette(pixels):
    return Image.fromarray(pixels).quantize(64)


def _grey(pixels):
    return Image.fromarray(pixels).convert("L")


def _with_alpha(pixels):
    alpha = np.full([HEIGHT, WIDTH, 1], 40, np.uint8)
    return Image.fromarray(np.concatenate([pixels, alpha], -1))


def _sixteen_bits(pixels):
    high = pixels[..., 0].astype(np.uint16) * 256 + 200
    return Image.fromarray(high)


# Lossless files: the picture that is saved, its format, what must come out.
EXACT = {
    "png": (Image.fromarray, "PNG"),
    "png, grey": (_grey, "PNG"),
    "png, palette": (_palette, "PNG"),
    "png, alpha": (_with_alpha, "PNG"),
    "png, grey and alpha": (lambda p: _with_alpha(p).convert("LA"), "PNG"),
    "png, one bit": (lambda p: _grey(p).convert("1"), "PNG"),
    "bmp": (Image.fromarray, "BMP"),
    "gif": (_palette, "GIF"),
}


def _expected(image):
    """RGB as Pillow has it, transparency dropped."""
    return np.asarray(image.convert("RGB"))


def _crop(array):
    top, left, height, width = WINDOW
    return array[top : top + height, left : left + width]


def _in_dataset(data, choose_window=None):
    decoded = tf.data.Dataset.from_tensors(data).map(
        lambda bytes: decoding.decode(bytes, choose_window)
    )
    (image,) = decoded.as_numpy_iterator()
    return image


def _assert_whole_and_window(data, expected, atol=0):
    for image in (decoding.decode(data).numpy(), _in_dataset(data)):
        assert image.dtype == np.uint8 and image.shape == expected.shape
        np.testing.assert_allclose(
            image.astype(int), expected.astype(int), atol=atol
        )
    shapes = []

    def choose(shape):
        shapes.append(shape)
        return tf.constant(WINDOW)

    window = decoding.decode(data, choose).numpy()
    sides = [shape.numpy()[:2].tolist() for shape in shapes]
    assert sides == [list(expected.shape[:2])]
    np.testing.assert_allclose(
        window.astype(int), _crop(expected).astype(int), atol=atol
    )


@pytest.mark.parametrize("kind", EXACT)
def test_a_lossless_file_comes_out_to_the_bit(kind, pixels):
    make, file_format = EXACT[kind]
    image = make(pixels)
    if file_format == "GIF":
        data = _encode(image, "GIF", optimize=False)
    else:
        data = _encode(image, file_format)
    _assert_whole_and_window(data, _expected(image))


def test_sixteen_bits_keep_the_high_byte(pixels):
    data = _encode(_sixteen_bits(pixels), "PNG")
    expected = np.repeat(pixels[..., :1], 3, -1)
    _assert_whole_and_window(data, expected, atol=1)


def test_of_an_animation_the_first_frame_is_taken(pixels):
    frames = [_palette(pixels), _palette(255 - pixels)]
    data = _encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    _assert_whole_and_window(data, _expected(frames[0]), atol=1)


@pytest.mark.parametrize("lossless", [True, False])
def test_webp(pixels, lossless):
    data = _encode(
        Image.fromarray(pixels), "WEBP", lossless=lossless, quality=95
    )
    _assert_whole_and_window(data, pixels, atol=0 if lossless else 12)


@pytest.mark.parametrize(
    "convert, progressive",
    [("RGB", False), ("RGB", True), ("L", False), ("CMYK", False)],
)
def test_jpegs_of_all_colour_spaces(pixels, convert, progressive):
    image = Image.fromarray(pixels).convert(convert)
    data = _encode(image, "JPEG", quality=97, progressive=progressive)
    _assert_whole_and_window(data, _expected(image), atol=8)


def test_a_jpegs_window_is_that_of_the_whole_but_at_its_edges(pixels):
    data = _encode(Image.fromarray(pixels), "JPEG", quality=90)
    whole = decoding.decode(data).numpy()
    window = decoding.decode(data, lambda _: tf.constant(WINDOW)).numpy()
    # Colour is stored at half the size and blended over the window's edge.
    np.testing.assert_array_equal(window[2:-2, 2:-2], _crop(whole)[2:-2, 2:-2])


def _exif_jpeg(pixels, orientation, order="II"):
    """A JPEG whose EXIF says how to turn it, numbers in either order."""
    pack = functools.partial(
        struct.pack, {"II": "<", "MM": ">"}[order] + "HHIHH"
    )
    tags = pack(0x0100, 3, 1, WIDTH, 0), pack(ORIENTATION, 3, 1, orientation, 0)
    head = struct.pack("<HIH" if order == "II" else ">HIH", 42, 8, len(tags))
    exif = b"Exif\0\0" + order.encode() + head + b"".join(tags) + bytes(4)
    image = Image.fromarray(pixels)
    return _encode(image, "JPEG", quality=97, subsampling=0, exif=exif)


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_upright(pixels, orientation, order):
    data = _exif_jpeg(pixels, orientation, order)
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert image.height == (HEIGHT if orientation < 5 else WIDTH)
    _assert_whole_and_window(data, np.asarray(image), atol=8)


@pytest.mark.parametrize("value", [0, 9, 6000])
def test_an_orientation_that_there_is_not_turns_nothing(pixels, value):
    data = _exif_jpeg(pixels, value)
    assert decoding.decode(data).shape == (HEIGHT, WIDTH, 3)


def test_a_damaged_exif_block_is_no_error(pixels):
    data = _exif_jpeg(pixels, 6)
    start = data.index(b"Exif\0\0") + 6
    sides = {(HEIGHT, WIDTH, 3), (WIDTH, HEIGHT, 3)}
    for first in range(0, 24, 4):
        place = start + first
        broken = data[:place] + b"\xff" * 12 + data[place + 12 :]
        assert tuple(decoding.decode(broken).shape) in sides


@pytest.mark.parametrize(
    "data", [b"", b"no picture", b"\xff\xd8\xff\xe0", b"GIF89a", b"\x89PNG\r\n"]
)
def test_what_is_no_picture_is_an_error_of_tensorflow(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoding.decode(data)


def test_a_decoded_picture_is_cut_without_copying_the_rest(pixels):
    window = decoding.slice_window(pixels, lambda _: tf.constant(WINDOW))
    np.testing.assert_array_equal(window, _crop(pixels))
    assert decoding.slice_window(pixels, None) is pixels
