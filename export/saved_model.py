"""SavedModel for serving: pictures in, classes with names out.

Signatures, each with the outputs `probabilities` [batch, classes],
`top_probabilities`, `top_indices` and `top_classes` [batch, k]:

    serving_default   images: float32 [batch, height, width, 3], RGB in [0, 1]
    image_bytes       image_bytes: string [batch], JPEG, PNG, GIF or BMP files
    tf_example        examples: string [batch], with the key image/encoded

A file that is no picture gets probabilities of 0, the index -1 and the class
`BROKEN`; the other rows of the batch are not touched.
"""

import tensorflow as tf

from efficientnetv2.data import preprocess

from . import artefact, fold, inputs, publish

BROKEN = "error: not a picture"


class _Server:
    """The functions of the signatures over one model."""

    def __init__(self, model, *, class_names, image_size, style, scores, top_k):
        self.model = model
        self.class_names = tf.constant(class_names)
        self.image_size = image_size
        self.style = style
        self.scores = scores
        self.top_k = min(top_k, len(class_names))

    def images(self, images):
        """From RGB in [0, 1], of the size given."""
        images = preprocess.normalize(images * 255.0, self.style)
        return self._answer(self._probabilities(images))

    def encoded(self, encoded):
        """From files' bytes, cropped and resized as in evaluation."""
        count = tf.shape(encoded, out_type=tf.int64)[0]
        rows, images = self._decode(encoded)
        readable = tf.shape(rows)[0] - 1  # without the blank one
        # Fused kernels refuse an empty batch, so the blank one stays then.
        found = self._probabilities(images[: tf.maximum(readable, 1)])
        found = found[:readable]  # [readable, classes]
        rows = rows[:readable, tf.newaxis]
        classes = tf.shape(found, out_type=tf.int64)[1]
        probabilities = tf.scatter_nd(rows, found, [count, classes])
        good = tf.scatter_nd(rows, tf.ones_like(rows[:, 0]), [count]) > 0
        return self._answer(probabilities, good)

    def examples(self, examples):
        """From serialised tf.train.Example."""
        feature = tf.io.FixedLenFeature([], tf.string, default_value="")
        parsed = tf.io.parse_example(examples, {"image/encoded": feature})
        return self.encoded(parsed["image/encoded"])

    def _probabilities(self, images):
        logits = self.model(images, training=False)
        return self.scores(tf.cast(logits, tf.float32))

    def _answer(self, probabilities, good=None):
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
        """Row numbers and images of the readable files and a blank one.

        tf.data can go on after an operation that failed; nothing else in a
        graph can. It cannot make an empty batch, hence the blank image.
        """
        size, style = self.image_size, self.style

        def decode(row, data):
            image = preprocess.preprocess_image(data, size, style=style)
            return row, tf.ensure_shape(image, [size, size, 3])

        files = tf.data.Dataset.from_tensor_slices(encoded).enumerate()
        files = files.map(
            decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        blank = tf.data.Dataset.from_tensors(
            (tf.constant(-1, tf.int64), tf.zeros([size, size, 3]))
        )
        files = files.ignore_errors().concatenate(blank)
        return files.batch(tf.int64.max).get_single_element()


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
    images = tf.TensorSpec([None, None, None, 3], tf.float32, name="images")
    texts = [
        tf.TensorSpec([None], tf.string, name=name)
        for name in ("image_bytes", "examples")
    ]
    traced = {
        "serving_default": (server.images, images),
        "image_bytes": (server.encoded, texts[0]),
        "tf_example": (server.examples, texts[1]),
    }
    return {
        name: tf.function(function).get_concrete_function(spec)
        for name, (function, spec) in traced.items()
    }


def check_names(model, class_names):
    """Returns a name for each logit of a model.

    Args:
        model: Keras model.
        class_names: Names, or None to number the classes.

    Returns:
        A list of strings.

    Raises:
        ValueError: if there are more or fewer names than logits.
    """
    count = model.outputs[0].shape[-1]
    names = class_names or [str(index) for index in range(count)]
    if len(names) != count:
        raise ValueError(
            f"class_names must hold {count} names, one for each class of the "
            f"model. Received: {len(names)}"
        )
    return list(names)


def write(
    model,
    path,
    *,
    class_names=None,
    image_size=None,
    style=None,
    loss_type="softmax",
    top_k=5,
):
    """Writes a SavedModel's folder; arguments as `export`.

    Returns:
        A list of `artefact.Artefact`.
    """
    folded = inputs.after_preprocessing(fold.fold(model))
    functions = signatures(
        folded,
        class_names=check_names(model, class_names),
        image_size=inputs.resolve_size(model, image_size),
        style=inputs.resolve_style(model, style),
        loss_type=loss_type,
        top_k=top_k,
    )
    root = tf.train.Checkpoint()
    root.weights = [v.value for v in folded.weights]
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(root, str(path), signatures=functions, options=options)
    return [
        artefact.Artefact(
            f"saved_model {signature}",
            str(path),
            "signature",
            feed,
            "probabilities",
            signature=signature,
        )
        for signature, feed in (
            ("serving_default", "unit"),
            ("image_bytes", "bytes"),
        )
    ]


def export(
    model, path, *, overwrite=False, verify=True, files=None, **settings
):
    """Writes a SavedModel for serving, batch normalisation folded.

    Args:
        model: Keras model of `efficientnetv2.get_model`, float32.
        path: Folder to write.
        overwrite: Replace `path` where it exists.
        verify: Load it in a process of its own and compare it with `model`.
        files: Pictures to compare on, a list of files' bytes; None: drawn.
        **settings: `class_names`: a name for each logit; None: numbers.
            `image_size`: pixels; None: the variant's evaluation size.
            `style`: normalisation of the model's input, 'v2', 'v1', 'ft' or
            None: the variant's. `loss_type`: 'softmax', or 'sigmoid' for
            several labels a picture. `top_k`: number of classes in the top
            outputs, >= 1.

    Returns:
        The path.

    Raises:
        ValueError: if `path` exists, the names do not fit, or if what was
            written does not do what the model does.
    """
    return publish.publish(
        lambda temporary: write(model, temporary, **settings),
        path,
        model=model if verify else None,
        style=settings.get("style"),
        image_size=settings.get("image_size"),
        loss_type=settings.get("loss_type", "softmax"),
        files=files,
        overwrite=overwrite,
    )
