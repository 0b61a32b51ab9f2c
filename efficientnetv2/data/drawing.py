"""Draws the pictures of the embedded data set, numpy only.

A picture shows one large object before a background of colour gradients and
small plain objects of any shape and colour. The object's shape, texture and
colour name its class; position, size, rotation, shade, lighting and noise say
nothing. Pictures are drawn many at once: an array's first axis is the picture.
"""

import numpy as np

SHAPES = ("triangle", "disc", "star", "cross")
TEXTURES = ("plain", "striped", "dotted")
# Hue of the object, degrees on the colour circle.
HUES = {"red": 0.0, "yellow": 52.0, "blue": 222.0}

# (colour, texture, shape). Each value occurs in two classes or more and most
# classes have a twin that differs in one of the three only, so that a cue
# alone names at most 4 of 10 right, two cues at most 7.
CLASSES = (
    ("blue", "plain", "triangle"),
    ("blue", "dotted", "triangle"),
    ("red", "plain", "disc"),
    ("red", "striped", "disc"),
    ("yellow", "striped", "disc"),
    ("red", "striped", "star"),
    ("yellow", "striped", "star"),
    ("red", "plain", "cross"),
    ("blue", "plain", "cross"),
    ("blue", "dotted", "cross"),
)
CLASS_NAMES = tuple(" ".join(words) for words in CLASSES)

_CLUTTER = 7  # small objects a picture
_HUE_SPREAD = 11.0  # degrees to either side


def _uniform(rng, low, high, count):
    """A number a picture, float32 [n, 1, 1]: broadcasts over pixels."""
    return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)


def _rgb(hue, saturation, value):
    """Colours on the circle: three arrays [n] to float32 [n, 1, 1, 3]."""
    sectors = (hue[:, None] / 60.0 + np.array([5.0, 3.0, 1.0])) % 6.0  # [n, 3]
    ramp = np.clip(np.minimum(sectors, 4.0 - sectors), 0.0, 1.0)
    colour = value[:, None] * (1.0 - saturation[:, None] * ramp)
    return colour.astype(np.float32)[:, None, None, :]


def _grid(height, width):
    """Pixel centres, the shorter side from -1 to 1: [1, h, 1], [1, 1, w]."""
    scale = 2.0 / min(height, width)
    y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) * scale
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) * scale
    return y[None, :, None], x[None, None, :]


def _own_axes(x, y, angle):
    """Coordinates along an object's own, turned axes: two [n, h, w]."""
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def _triangle(u, v):
    """Signed distance to an equilateral triangle of circumradius 1."""
    sine = np.float32(np.sin(np.pi / 3))
    sides = np.maximum(sine * v, -sine * v) - np.float32(0.5) * u
    return np.maximum(sides, u) - np.float32(0.5)


def _cross(u, v):
    """Signed distance to a cross: two bars of length 1.8."""
    u, v = np.abs(u), np.abs(v)
    longer, shorter = np.maximum(u, v), np.minimum(u, v)
    return np.maximum(longer - np.float32(0.9), shorter - np.float32(0.36))


def _star(u, v):
    """Signed distance to a five-pointed star: the second largest of the
    distances to its five lines, since a point may lie beyond one of them."""
    edges = []
    for side in range(5):
        turn = 2 * np.pi * side / 5
        edges.append(
            np.float32(np.cos(turn)) * u + np.float32(np.sin(turn)) * v
        )
    first = np.maximum(edges[0], edges[1])
    second = np.minimum(edges[0], edges[1])
    for edge in edges[2:]:
        second = np.maximum(second, np.minimum(first, edge))
        first = np.maximum(first, edge)
    return second - np.float32(np.cos(0.4 * np.pi))


def _outline(shape, u, v):
    """Signed distance to a shape of circumradius about 1, negative inside."""
    if shape == "disc":
        # Same area as the others rather than the same circumradius.
        return np.sqrt(u * u + v * v) - np.float32(0.82)
    if shape == "triangle":
        return _triangle(u, v)
    if shape == "cross":
        return _cross(u, v)
    return _star(u, v)


def _outlines(shapes, u, v):
    """Signed distances [n, h, w] of pictures with different shapes."""
    distances = np.empty(np.broadcast_shapes(u.shape, v.shape), np.float32)
    for number, shape in enumerate(SHAPES):
        rows = np.flatnonzero(shapes == number)
        if rows.size:
            distances[rows] = _outline(shape, u[rows], v[rows])
    return distances


def _cover(distance, softness):
    """Share of a pixel inside: 0..1, [n, h, w, 1], with soft edges."""
    return np.clip(0.5 - distance / softness, 0.0, 1.0)[..., None]


def _background(rng, count, height, width):
    """Gradients between random colours: float32 [n, h, w, 3]."""
    hue = rng.uniform(0, 360, count * 9)
    knots = _rgb(
        hue, rng.uniform(0.1, 0.75, count * 9), rng.uniform(0.2, 0.9, count * 9)
    ).reshape(count, 3, 3, 3)
    knots = knots.transpose(0, 3, 1, 2)  # [n, channel, 3, 3]
    weights = []
    for side in (height, width):
        place = np.linspace(0, 2, side, dtype=np.float32)[:, None]
        weights.append(np.clip(1 - np.abs(place - np.arange(3)), 0, 1))
    image = (
        weights[0].astype(np.float32) @ knots @ weights[1].T.astype(np.float32)
    )
    return np.ascontiguousarray(image.transpose(0, 2, 3, 1))


def _window(rng, count, side, pixels):
    """A random place on an axis: centre [n, 1] and the pixels round it.

    Only these pixels are drawn, since a small object leaves the others as
    they are.
    """
    center = rng.uniform(-0.05, 1.05, (count, 1)) * side
    first = np.clip(np.rint(center - pixels / 2), 0, side - pixels)
    return center, first.astype(int) + np.arange(pixels)  # [n, pixels]


def _add_clutter(rng, image, softness):
    """Lays small plain objects of any shape and colour over `image`."""
    count, height, width, _ = image.shape
    scale = 2.0 / min(height, width)
    largest = 0.30
    pixels = min(height, width, int(2 * largest / scale) + 2)
    for _ in range(_CLUTTER):
        radius = _uniform(rng, 0.10, largest, count)
        center_y, rows = _window(rng, count, height, pixels)
        center_x, columns = _window(rng, count, width, pixels)
        u, v = _own_axes(
            ((columns + 0.5 - center_x) * scale)[:, None, :].astype(np.float32),
            ((rows + 0.5 - center_y) * scale)[:, :, None].astype(np.float32),
            _uniform(rng, 0, 2 * np.pi, count),
        )
        shapes = rng.integers(0, len(SHAPES), count)
        distance = _outlines(shapes, u / radius, v / radius) * radius
        colour = _rgb(
            rng.uniform(0, 360, count),
            rng.uniform(0.4, 1.0, count),
            rng.uniform(0.35, 1.0, count),
        )
        place = (
            np.arange(count)[:, None, None],
            rows[:, :, None],
            columns[:, None, :],
        )
        below = image[place]  # [n, pixels, pixels, 3]
        image[place] = below + _cover(distance, softness) * (colour - below)


def _pattern(rng, textures, u, v, radius, softness):
    """Share of the second colour, [n, h, w, 1]: stripes or dots."""
    count = len(textures)
    turn = _uniform(rng, 0, 2 * np.pi, count)
    period = radius * _uniform(rng, 0.42, 0.60, count)
    p = (np.cos(turn) * u + np.sin(turn) * v) / period
    q = (np.cos(turn) * v - np.sin(turn) * u) / period
    p += _uniform(rng, 0, 1, count)
    q += _uniform(rng, 0, 1, count)
    # Distances to the next stripe or dot, in periods; centre to centre is 1.
    p = np.abs(p - np.floor(p) - 0.5)
    stripe = p - 0.23
    q = np.abs(q - np.floor(q) - 0.5)
    dot = np.sqrt(p * p + q * q) - 0.31
    textures = textures[:, None, None]
    distance = np.where(textures == TEXTURES.index("dotted"), dot, stripe)
    distance = np.where(textures == TEXTURES.index("plain"), 1.0, distance)
    return _cover(distance * period, softness)


def _add_object(rng, image, labels, x, y, softness):
    """Lays the object that names the class over `image`."""
    count = len(labels)
    colours, textures, shapes = (
        np.array([words[part] for words in CLASSES])[labels]
        for part in range(3)
    )
    shapes = np.array([SHAPES.index(name) for name in shapes])
    textures = np.array([TEXTURES.index(name) for name in textures])
    hue = np.array([HUES[name] for name in colours])
    hue = (hue + rng.uniform(-_HUE_SPREAD, _HUE_SPREAD, count)) % 360
    # Small ones stay inside; large ones may be cut by the picture's border.
    radius = _uniform(rng, 0.55, 0.95, count)
    reach = np.maximum(1.0 - radius, 0.0) + 0.1
    u, v = _own_axes(
        x - reach * _uniform(rng, -1, 1, count),
        y - reach * _uniform(rng, -1, 1, count),
        _uniform(rng, 0, 2 * np.pi, count),
    )
    distance = _outlines(shapes, u / radius, v / radius) * radius
    cover = _cover(distance, softness)
    first = _rgb(
        hue, rng.uniform(0.75, 1.0, count), rng.uniform(0.65, 1.0, count)
    )
    # The second colour says nothing: nearly white or nearly black.
    light = rng.integers(0, 2, count)
    second = _rgb(
        rng.uniform(0, 360, count),
        rng.uniform(0.0, 0.2, count),
        np.where(
            light == 1,
            rng.uniform(0.85, 1.0, count),
            rng.uniform(0.05, 0.2, count),
        ),
    )
    paint = first + _pattern(rng, textures, u, v, radius, softness) * (
        second - first
    )
    image += cover * (paint - image)


def _light(rng, image, x, y):
    """Lighting from one side, a tint of the lamp, contrast and noise."""
    count = len(image)
    turn = _uniform(rng, 0, 2 * np.pi, count)
    slope = _uniform(rng, 0.0, 0.3, count)
    side = 1.0 + slope * (np.cos(turn) * x + np.sin(turn) * y)
    tint = rng.uniform(0.88, 1.12, (count, 1, 1, 3)).astype(np.float32)
    exposure = rng.uniform(0.7, 1.15, (count, 1, 1, 1)).astype(np.float32)
    image *= side[..., None] * (tint * exposure)
    amount = rng.uniform(0.01, 0.06, (count, 1, 1, 1)).astype(np.float32)
    image += amount * rng.standard_normal(image.shape, np.float32)


def draw(labels, seed, *, height, width):
    """Draws a picture of each class asked for.

    Args:
        labels: Class numbers 0..9, int [n].
        seed: Sequence of ints >= 0 that names the draw.
        height: Pixels, >= 16.
        width: Pixels, >= 16.

    Returns:
        uint8 [n, height, width, 3].

    Raises:
        ValueError: if the size is too small to tell the classes apart.
    """
    if min(height, width) < 16:
        raise ValueError(
            f"height and width must be >= 16. Received: {height}, {width}"
        )
    labels = np.asarray(labels)
    rng = np.random.default_rng(seed)
    y, x = _grid(height, width)
    softness = 3.0 / min(height, width)  # an edge is 1.5 pixels wide
    image = _background(rng, len(labels), height, width)
    _add_clutter(rng, image, softness)
    _add_object(rng, image, labels, x, y, softness)
    _light(rng, image, x, y)
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
