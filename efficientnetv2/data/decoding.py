"""From the bytes of a picture file to upright uint8 RGB pixels.

JPEG (grey, RGB, CMYK, EXIF orientation), PNG (grey, palette, 16-bit, alpha),
BMP, GIF (its first frame) and WebP. Alpha is dropped, as Pillow's
`convert("RGB")` does. All of it are graph ops, so it can be exported.
"""

import tensorflow as tf

# An EXIF block stands near the start; the whole of one has 64 KiB at most.
_EXIF_SEARCH_BYTES = 4096
_EXIF_BYTES = 65536 + _EXIF_SEARCH_BYTES
_EXIF_TAG = [0x45, 0x78, 0x69, 0x66, 0, 0]  # Exif
_EXIF_PATTERN = r"\C*Exif\x00\x00\C*"
_ORIENTATION = 0x0112
_MAX_TAGS = 256

# Orientations 1..8, from index 0: what makes the stored picture upright is
# first a transposition, then a flip left-right, then a flip up-down.
_TRANSPOSE = [False, False, False, False, False, True, True, True, True]
_FLIP_COLUMNS = [False, False, True, True, False, False, True, True, False]
_FLIP_ROWS = [False, False, False, True, True, False, False, True, True]


def _number(data, place, count, little):
    """Reads `count`-byte numbers at the places; 0 outside the data."""
    size = tf.size(data)
    total = tf.zeros_like(place)
    for byte in range(count):
        at = place + tf.where(little, count - 1 - byte, byte)
        inside = (at >= 0) & (at < size)
        value = tf.gather(data, tf.where(inside, at, 0))
        total = total * 256 + tf.where(inside, value, 0)
    return total


def _exif_orientation(data):
    """The orientation tag in a JPEG that holds an EXIF block."""
    head = tf.strings.substr(data, 0, _EXIF_BYTES)
    head = tf.cast(tf.io.decode_raw(head, tf.uint8), tf.int32)
    length = tf.minimum(tf.size(head), _EXIF_SEARCH_BYTES) - len(_EXIF_TAG)
    found = tf.ones([length], tf.bool)
    for place, letter in enumerate(_EXIF_TAG):
        found &= head[place : place + length] == letter
    start = tf.argmax(found, output_type=tf.int32) + len(_EXIF_TAG)
    little = tf.gather(head, start) == 0x49  # I for Intel, M for Motorola
    table = start + _number(head, start + 4, 4, little)
    count = tf.minimum(_number(head, table, 2, little), _MAX_TAGS)
    entries = table + 2 + 12 * tf.range(count)
    is_tag = _number(head, entries, 2, little) == _ORIENTATION
    values = _number(head, entries + 8, 2, little)
    value = tf.reduce_sum(tf.where(is_tag, values, 0))
    return tf.where((value >= 1) & (value <= 8), value, 1)


def has_exif(data):
    """Whether a JPEG's head holds an EXIF block; bool scalar."""
    head = tf.strings.substr(data, 0, _EXIF_SEARCH_BYTES)
    return tf.strings.regex_full_match(head, _EXIF_PATTERN)


def _upright(image, orientation):
    """Turns stored pixels as the orientation, int32 1 to 8, says."""
    image = tf.cond(
        tf.gather(_TRANSPOSE, orientation),
        lambda: tf.transpose(image, [1, 0, 2]),
        lambda: image,
    )
    image = tf.cond(
        tf.gather(_FLIP_COLUMNS, orientation),
        lambda: tf.reverse(image, [1]),
        lambda: image,
    )
    return tf.cond(
        tf.gather(_FLIP_ROWS, orientation),
        lambda: tf.reverse(image, [0]),
        lambda: image,
    )


def _upright_shape(shape, orientation):
    swapped = tf.gather(_TRANSPOSE, orientation)
    return tf.where(swapped, tf.gather(shape, [1, 0, 2]), shape)


def _stored_window(window, shape, orientation):
    """Where an upright window (y, x, height, width) lies in the file."""
    y, x, height, width = tf.unstack(window)
    x = tf.where(tf.gather(_FLIP_COLUMNS, orientation), shape[1] - x - width, x)
    y = tf.where(tf.gather(_FLIP_ROWS, orientation), shape[0] - y - height, y)
    straight = tf.stack([y, x, height, width])
    turned = tf.stack([x, y, width, height])
    return tf.where(tf.gather(_TRANSPOSE, orientation), turned, straight)


def _decode_jpeg(data, choose_window):
    """Decodes the chosen window of a JPEG, and only that."""
    shape = tf.image.extract_jpeg_shape(data)

    def plain():
        return tf.image.decode_and_crop_jpeg(
            data, choose_window(shape), channels=3
        )

    def oriented():
        orientation = _exif_orientation(data)
        turned = _upright_shape(shape, orientation)
        window = choose_window(turned)
        window = _stored_window(window, turned, orientation)
        image = tf.image.decode_and_crop_jpeg(data, window, channels=3)
        return _upright(image, orientation)

    return tf.cond(has_exif(data), oriented, plain)


def whole_window(shape):
    """The window that takes all of a picture.

    Args:
        shape: int32 [3], height, width and channels.

    Returns:
        int32 [4]: 0, 0, height, width.
    """
    return tf.stack([0, 0, shape[0], shape[1]])


def slice_window(image, choose_window):
    """Cuts the chosen window out of a decoded image.

    Args:
        image: uint8 [height, width, 3].
        choose_window: as in `decode`, or None.

    Returns:
        uint8 [window height, window width, 3].
    """
    if choose_window is None:
        return image
    y, x, height, width = tf.unstack(choose_window(tf.shape(image)))
    return image[y : y + height, x : x + width]


def decode(data, choose_window=None):
    """Decodes a picture file, or a window of it.

    Args:
        data: string scalar, the bytes of the file.
        choose_window: function of the upright shape, int32 [3] (height, width,
            channels), that returns int32 [4]: top, left, height and width of
            the window in pixels. Of a JPEG no more than it is decoded. `None`
            takes all.

    Returns:
        uint8 [height, width, 3], upright.
    """

    def other():
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
        image.set_shape([None, None, 3])
        return slice_window(image, choose_window)

    image = tf.cond(
        tf.io.is_jpeg(data),
        lambda: _decode_jpeg(data, choose_window or whole_window),
        other,
    )
    return tf.ensure_shape(image, [None, None, 3])
