"""Mixup and CutMix between neighbours of a batch.

Rows 2j and 2j + 1 are partners, so a batch mixes alike on one device or cut
over several. What is random is drawn in the input pipeline (`draw`); the mixing
itself (`apply`) belongs to the compiled train step.
"""

import tensorflow as tf


def _beta(alpha, seed):
    """One draw of Beta(alpha, alpha), float32 scalar."""
    # float64: a Gamma of small alpha underflows in float32.
    parts = tf.random.stateless_gamma([2], seed, alpha, dtype=tf.float64)
    total = parts[0] + parts[1]
    share = tf.where(total > 0, parts[0] / total, 0.5)
    return tf.cast(share, tf.float32)


def _box(share, image_size, seed):
    """A square of area `share` about a random pixel, cut at the border.

    Returns:
        int32 [4]: top, left, bottom, right.
    """
    side = tf.sqrt(share) * tf.cast(image_size, tf.float32)
    center = tf.random.stateless_uniform(
        [2], seed, maxval=image_size, dtype=tf.int32
    )
    half = tf.cast(side, tf.int32) // 2
    low = tf.clip_by_value(center - half, 0, image_size)
    high = tf.clip_by_value(center + half, 0, image_size)
    return tf.concat([low, high], 0)


def _draw_pair(seed, use_cutmix, mixup_alpha, cutmix_alpha, image_size):
    """Lambda and box of one pair of rows."""

    def mixup():
        if not mixup_alpha:
            return tf.ones([]), tf.zeros([4], tf.int32)
        return _beta(mixup_alpha, seed), tf.zeros([4], tf.int32)

    def cutmix():
        if not cutmix_alpha:
            return tf.ones([]), tf.zeros([4], tf.int32)
        share = 1.0 - _beta(cutmix_alpha, seed)
        # The centre must not follow from the area.
        return tf.ones([]), _box(share, image_size, seed[::-1])

    return tf.cond(use_cutmix, cutmix, mixup)


def draw(seeds, *, places=None, mixup_alpha=0.0, cutmix_alpha=0.0, image_size):
    """Draws how each pair of a batch is mixed. Not for compiled code.

    With both alphas given mixup and CutMix take turns from pair to pair.

    Args:
        seeds: int32 [batch, 2]; a pair takes that of its first row.
        places: int64 [batch], the rows' places in the epoch's stream, which
            say whose turn it is, however batches cut it; None: in the batch.
        mixup_alpha: of Beta(alpha, alpha); 0 for no mixup.
        cutmix_alpha: the same for CutMix.
        image_size: height and width, pixels.

    Returns:
        mix_lambda: float32 [batch], what a row keeps of itself (mixup).
        mix_box: int32 [batch, 4], top, left, bottom, right of the part that
            comes from the partner (CutMix); empty for none.

    Raises:
        ValueError: on a negative alpha.
    """
    for name, alpha in (
        ("mixup_alpha", mixup_alpha),
        ("cutmix_alpha", cutmix_alpha),
    ):
        if alpha < 0:
            raise ValueError(f"{name} must be >= 0. Received: {alpha}")
    batch = tf.shape(seeds)[0]
    places = tf.range(batch) if places is None else places
    if mixup_alpha and cutmix_alpha:
        use_cutmix = places[::2] // 2 % 2 == 1
    else:
        use_cutmix = tf.fill(tf.shape(places[::2]), bool(cutmix_alpha))
    mix_lambda, mix_box = tf.map_fn(
        lambda pair: _draw_pair(
            pair[0], pair[1], mixup_alpha, cutmix_alpha, image_size
        ),
        (seeds[::2], use_cutmix),
        fn_output_signature=(
            tf.TensorSpec([], tf.float32),
            tf.TensorSpec([4], tf.int32),
        ),
    )
    # Both rows of a pair; of an odd batch's last pair, one.
    return (
        tf.repeat(mix_lambda, 2)[:batch],
        tf.repeat(mix_box, 2, axis=0)[:batch],
    )


def _partners(values):
    """Swaps rows 2j and 2j + 1; an odd batch's last row keeps to itself."""
    batch = tf.shape(values)[0]
    order = tf.bitwise.bitwise_xor(tf.range(batch), 1)
    return tf.gather(values, tf.minimum(order, batch - 1))


def apply(images, labels, *, mix_lambda, mix_box):
    """Mixes each row with its partner. Compiles.

    Args:
        images: float [batch, height, width, channels].
        labels: float32 [batch, classes].
        mix_lambda: float32 [batch], see `draw`.
        mix_box: int32 [batch, 4], see `draw`.

    Returns:
        images and labels of the same shapes and types. A label's weight is the
        part of the pixels that its image really gave.
        Source: arXiv 1710.09412; arXiv 1905.04899, algorithm A1.
    """
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    y = tf.range(height)
    x = tf.range(width)
    top, left, bottom, right = tf.unstack(mix_box[:, :, None], axis=1)
    rows = (y >= top) & (y < bottom)  # [batch, height]
    columns = (x >= left) & (x < right)  # [batch, width]
    inside = rows[:, :, None, None] & columns[:, None, :, None]
    keep = tf.cast(mix_lambda, images.dtype)[:, None, None, None]
    other = _partners(images)
    mixed = tf.where(inside, other, keep * images + (1 - keep) * other)
    area = tf.cast((bottom - top) * (right - left), tf.float32)[:, 0]
    share = area / tf.cast(height * width, tf.float32)
    weight = (mix_lambda * (1.0 - share))[:, None]  # [batch, 1]
    weight = tf.cast(weight, labels.dtype)
    return mixed, weight * labels + (1 - weight) * _partners(labels)
