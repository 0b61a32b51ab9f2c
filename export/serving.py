"""What a served model answers: the functions of its signatures."""

import keras
import tensorflow as tf

from efficientnetv2.data import preprocess

from . import inputs

BROKEN = "error: not a picture"
_IMAGES = tf.TensorSpec([None, None, None, 3], tf.float32, name="images")


def _forward(model):
    """From normalised images to logits, the last feature map, head's kernel."""
    last = model.get_layer("avg_pool").input
    both = keras.Model(model.inputs, [model.outputs[0], last])
    both = inputs.after_preprocessing(both)
    head = [v is model.get_layer("predictions").kernel for v in both.weights]
    values = [keras.ops.convert_to_numpy(variable) for variable in both.weights]

    # One function for all signatures: traced once, written once.
    @tf.function(input_signature=[_IMAGES])
    def forward(images):
        # Constants, not variables: what kernels make of a weight they then
        # keep. oneDNN's would arrange it anew in each call, which took twice
        # the time.
        constants = [tf.constant(value) for value in values]
        pairs = zip(both.weights, constants, strict=True)
        with keras.StatelessScope(list(pairs)):
            logits, maps = both(images, training=False)
        return logits, maps, constants[head.index(True)]

    return forward


class _Server:
    """The functions of the signatures over one model."""

    def __init__(self, model, *, class_names, image_size, style, scores, top_k):
        self.forward = _forward(model)
        self.class_names = tf.constant(class_names)
        self.image_size = image_size
        self.style = style
        self.scores = scores
        self.top_k = min(top_k, len(class_names))

    def images(self, images):
        """From RGB in [0, 1], of the size given."""
        images = preprocess.normalize(images * 255.0, self.style)
        logits, *_ = self.forward(images)
        return self._answer(logits)

    def encoded(self, encoded):
        """From files' bytes, cropped and resized as in evaluation."""
        images, good = self._decode(encoded)
        logits, *_ = self.forward(images)
        return self._answer(logits, good)

    def examples(self, examples):
        """From serialised tf.train.Example."""
        feature = tf.io.FixedLenFeature([], tf.string, default_value="")
        parsed = tf.io.parse_example(examples, {"image/encoded": feature})
        return self.encoded(parsed["image/encoded"])

    def grad_cam(self, encoded):
        """As `encoded`, and where in the picture the top classes are seen.

        Grad-CAM (arXiv 1610.02391, section 3) weighs the last feature map by
        the mean gradient of a class's logit. Here the map is averaged and
        multiplied by the head's kernel, so that gradient is the kernel over
        the number of places, everywhere the same: nothing to differentiate.
        """
        images, good = self._decode(encoded)
        logits, maps, kernel = self.forward(images)
        answer = self._answer(logits, good)
        count = tf.shape(good)[0]
        classes = tf.maximum(answer["top_indices"], 0)
        weights = tf.gather(kernel, classes, axis=1)  # [channels, batch, k]
        heat = tf.einsum("bhwc,cbk->bkhw", maps[:count], weights)
        heat = tf.nn.relu(heat)
        peak = tf.reduce_max(heat, [2, 3], keepdims=True)
        heat = tf.math.divide_no_nan(heat, peak)
        answer["heat_maps"] = _rows_of(good, heat)
        scale, offset = inputs.affine(self.style)
        pixels = tf.clip_by_value((images[:count] - offset) / scale, 0, 255)
        pixels = tf.cast(tf.round(pixels), tf.uint8)
        answer["pictures"] = _rows_of(good, pixels)
        return answer

    def _answer(self, logits, good=None):
        probabilities = self.scores(tf.cast(logits, tf.float32))
        if good is not None:
            probabilities = _rows_of(good, probabilities[: tf.shape(good)[0]])
        top, indices = tf.math.top_k(probabilities, self.top_k)
        names = tf.gather(self.class_names, indices)
        if good is not None:
            indices = tf.where(good[:, tf.newaxis], indices, -1)
            names = tf.where(good[:, tf.newaxis], names, BROKEN)
        return {
            "probabilities": probabilities,
            "top_probabilities": top,
            "top_indices": indices,
            "top_classes": names,
        }

    def _decode(self, encoded):
        """Images, and which rows of the batch they are of.

        tf.data can go on after an operation that failed; nothing else in a
        graph can. It cannot make an empty batch, hence the blank image.

        Returns:
            `(images, good)`: normalised float32 [max(batch, 1), size, size,
            3], blank where the file is broken (fused kernels refuse an empty
            batch), and bool [batch].
        """
        size, style = self.image_size, self.style
        count = tf.shape(encoded, out_type=tf.int64)[0]

        def decode(row, data):
            image = preprocess.preprocess_image(data, size, style=style)
            return row, tf.ensure_shape(image, [size, size, 3])

        files = tf.data.Dataset.from_tensor_slices(encoded).enumerate()
        files = files.map(
            decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        blank = tf.data.Dataset.from_tensors(
            (tf.zeros([], tf.int64), tf.zeros([size, size, 3]))
        )
        files = files.ignore_errors().concatenate(blank)
        rows, images = files.batch(tf.int64.max).get_single_element()
        rows = rows[:, tf.newaxis]
        readable = rows[:-1]
        good = tf.scatter_nd(readable, tf.ones_like(readable[:, 0]), [count])
        # The blank one adds nothing to the row that it stands for.
        shape = tf.stack([tf.maximum(count, 1), size, size, 3])
        return tf.scatter_nd(rows, images, shape), good > 0


def _rows_of(good, values):
    """`values` with zeros in the rows that are not good."""
    ones = [1] * (len(values.shape) - 1)
    rows = tf.reshape(good, [-1, *ones])
    return tf.where(rows, values, tf.zeros_like(values))


def signatures(
    model, *, class_names, image_size, style, loss_type="softmax", top_k=5
):
    """Traces the serving functions.

    Args:
        model: Keras model from normalised images to logits.
        class_names: A name for each logit.
        image_size: Size that files are brought to, pixels.
        style: Normalisation, a style of `data.preprocess`.
        loss_type: 'softmax', or 'sigmoid' for several labels a picture.
        top_k: Number of classes in the top outputs, >= 1.

    Returns:
        A dict from signature to concrete function.
    """
    server = _Server(
        model,
        class_names=list(class_names),
        image_size=image_size,
        style=style,
        scores=tf.sigmoid if loss_type == "sigmoid" else tf.nn.softmax,
        top_k=top_k,
    )
    files = tf.TensorSpec([None], tf.string, name="image_bytes")
    examples = tf.TensorSpec([None], tf.string, name="examples")
    traced = {
        "serving_default": (server.images, _IMAGES),
        "image_bytes": (server.encoded, files),
        "tf_example": (server.examples, examples),
        "grad_cam": (server.grad_cam, files),
    }
    return {
        name: tf.function(function).get_concrete_function(spec)
        for name, (function, spec) in traced.items()
    }
