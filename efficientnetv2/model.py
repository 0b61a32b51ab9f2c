"""EfficientNetV1 and V2 as functional Keras models.

Built from an `Architecture`: stem, MBConv and Fused-MBConv blocks, head
(arXiv 2104.00298, figure 2 and table 4). Layers are named as in
keras.applications, so that weights map by rule. Runs on every Keras backend.
"""

import keras

from efficientnetv2 import convolution, layers, normalization, scaling
from efficientnetv2.architecture import Architecture

_IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB in 0..1
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
# fan_out counts one channel for a depthwise kernel (arXiv 1502.01852).
_KERNEL_INITIALIZER = (
    "VarianceScaling",
    {
        "scale": 2.0,
        "mode": "fan_out",
        "distribution": "untruncated_normal",
    },
)


class _Builder:
    """Layers of one architecture: settings shared by all of its blocks.

    Inside, every tensor is [batch, height, width, channels].
    """

    def __init__(self, architecture):
        self.architecture = architecture

    def conv(self, x, filters, kernel_size, name, *, strides=1, bias=False):
        return convolution.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding="same",
            use_bias=bias,
            kernel_initializer=_kernel_initializer(),
            data_format="channels_last",
            name=name,
        )(x)

    def depthwise(self, x, kernel_size, strides, name):
        return keras.layers.DepthwiseConv2D(
            kernel_size,
            strides=strides,
            padding="same",
            use_bias=False,
            depthwise_initializer=_kernel_initializer(),
            data_format="channels_last",
            name=name,
        )(x)

    def norm(self, x, name):
        architecture = self.architecture
        if architecture.bn_type == "gn":
            return keras.layers.GroupNormalization(
                groups=architecture.gn_groups,
                axis=-1,
                epsilon=architecture.bn_epsilon,
                name=name,
            )(x)
        return normalization.BatchNormalization(
            axis=-1,
            momentum=architecture.bn_momentum,
            epsilon=architecture.bn_epsilon,
            synchronized=architecture.bn_type is None,
            name=name,
        )(x)

    def activation(self, x, name):
        return layers.Activation(self.architecture.act_fn, name=name)(x)

    def conv_norm_act(self, x, filters, kernel_size, prefix, strides=1):
        x = self.conv(
            x, filters, kernel_size, f"{prefix}_conv", strides=strides
        )
        x = self.norm(x, f"{prefix}_bn")
        return self.activation(x, f"{prefix}_activation")

    def mean(self, x, name, *, keepdims=False):
        return keras.layers.GlobalAveragePooling2D(
            data_format="channels_last",
            keepdims=keepdims,
            name=name,
        )(x)

    def squeeze_excite(self, x, filters, name):
        """Reweights channels by their global means (arXiv 1709.01507)."""
        gate = self.mean(x, f"{name}se_squeeze", keepdims=True)
        gate = self.conv(gate, filters, 1, f"{name}se_reduce", bias=True)
        gate = self.activation(gate, f"{name}se_activation")
        gate = self.conv(gate, x.shape[-1], 1, f"{name}se_expand", bias=True)
        gate = keras.layers.Activation("sigmoid", name=f"{name}se_gate")(gate)
        return keras.layers.Multiply(name=f"{name}se_excite")([x, gate])


def _kernel_initializer():
    # A new object each time: Keras warns when one initializer is reused.
    name, settings = _KERNEL_INITIALIZER
    return getattr(keras.initializers, name)(**settings)


def _block(builder, x, spec, drop_rate, name):
    """One MBConv or Fused-MBConv block (arXiv 2104.00298, figure 2)."""
    architecture = builder.architecture
    inputs = x
    expanded = spec.input_filters * spec.expand_ratio
    if spec.fused and spec.expand_ratio != 1:
        x = builder.conv_norm_act(
            x, expanded, spec.kernel_size, f"{name}expand", spec.strides
        )
    elif not spec.fused:
        if spec.expand_ratio != 1:
            x = builder.conv_norm_act(x, expanded, 1, f"{name}expand")
        # keras.applications' name for it in each family.
        dwconv = "dwconv" if architecture.family == "v1" else "dwconv2"
        x = builder.depthwise(
            x, spec.kernel_size, spec.strides, f"{name}{dwconv}"
        )
        x = builder.norm(x, f"{name}bn")
        x = builder.activation(x, f"{name}activation")
    if architecture.conv_dropout and spec.expand_ratio != 1:
        x = layers.Dropout(
            architecture.conv_dropout, staged=False, name=f"{name}dropout"
        )(x)
    if spec.se_ratio is not None:
        # From the block's input channels, not the expanded ones.
        filters = max(1, int(spec.input_filters * spec.se_ratio))
        x = builder.squeeze_excite(x, filters, name)
    whole = spec.fused and spec.expand_ratio == 1  # one k x k convolution
    x = builder.conv(
        x,
        spec.output_filters,
        spec.kernel_size if whole else 1,
        f"{name}project_conv",
        strides=spec.strides if whole else 1,
    )
    x = builder.norm(x, f"{name}project_bn")
    if whole:
        x = builder.activation(x, f"{name}project_activation")
    if (
        spec.id_skip
        and spec.strides == 1
        and spec.input_filters == spec.output_filters
    ):
        if drop_rate:
            x = layers.StochasticDepth(drop_rate, name=f"{name}drop")(x)
        x = keras.layers.Add(name=f"{name}add")([x, inputs])
    return x


def _preprocessing(x, style):
    """Normalises RGB in 0..255, in float32 under any precision policy."""
    if style == "v2":
        scale, offset = 1 / 128, -1.0
    elif style == "v1":
        if x.shape[-1] != 3:
            raise ValueError(
                "include_preprocessing with ImageNet mean and deviation needs "
                f"input_channels 3. Received: input_channels={x.shape[-1]}"
            )
        pairs = list(zip(_IMAGENET_MEAN, _IMAGENET_DEVIATION, strict=True))
        # [1, 1, channels]: broadcasts whatever Keras's global data format.
        scale = [[[1 / (255 * deviation) for _, deviation in pairs]]]
        offset = [[[-mean / deviation for mean, deviation in pairs]]]
    else:
        raise ValueError(
            f"preprocessing must be 'v1' or 'v2'. Received: {style!r}"
        )
    return keras.layers.Rescaling(
        scale, offset, dtype="float32", name="preprocessing"
    )(x)


def _check_count(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"{name} must be a whole number >= 1. Received: {value!r}"
        )


def _letter(index):
    """Name of a block in its stage: a .. z, then aa, ab, ..."""
    head, tail = divmod(index, 26)
    return (_letter(head - 1) if head else "") + chr(ord("a") + tail)


def _blocks(builder, x):
    """All blocks; returns the last output and the list of endpoints."""
    architecture = builder.architecture
    stages = scaling.scale_stages(architecture)
    blocks = scaling.expand_stages(stages)
    endpoints = []
    x = builder.conv_norm_act(x, stages[0].input_filters, 3, "stem", 2)
    for index, (stage, block, spec) in enumerate(blocks):
        rate = scaling.drop_rate(architecture.survival_prob, index, len(blocks))
        x = _block(builder, x, spec, rate, f"block{stage + 1}{_letter(block)}_")
        after = blocks[index + 1 :]
        if not after or after[0][2].strides > 1:
            endpoints.append(x)
    return x, endpoints


def _head(builder, x, num_classes):
    architecture = builder.architecture
    filters = scaling.scale_filters(architecture, architecture.feature_size)
    x = builder.conv_norm_act(x, filters, 1, "top")
    x = builder.mean(x, "avg_pool")  # [batch, filters]
    if num_classes is None:
        return x
    # Present at rate 0 too: the rate may rise in a later training stage.
    x = layers.Dropout(architecture.dropout_rate, name="top_dropout")(x)
    # Differs from the released code, which scales by the number of classes:
    # the same for 1000 of them, but a few would start with huge logits.
    return keras.layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.VarianceScaling(
            1 / 3, "fan_in", "uniform"
        ),
        bias_initializer=keras.initializers.Constant(
            architecture.headbias or 0.0
        ),
        dtype="float32",
        name="predictions",
    )(x)


def build(
    architecture: Architecture,
    *,
    num_classes: int = 1000,
    include_top: bool = True,
    input_channels: int = 3,
    with_endpoints: bool = False,
    preprocessing: str | None = None,
) -> keras.Model:
    """Builds the model of an architecture.

    Args:
        architecture: A `variants.Architecture`.
        num_classes: Classes of the head, >= 1.
        include_top: False: the outputs are the pooled features
            [batch, feature_size * width], without dropout.
        input_channels: Channels of the input, >= 1.
        with_endpoints: The outputs are `[logits_or_features, reduction_1,
            ...]`: for each reduction of the size the last feature map before
            the next one, reduction_k at 1/2^k of the size.
        preprocessing: None (the input is normalised), 'v2' or 'v1': the
            input is RGB in 0..255 and normalised inside.

    Returns:
        A functional `keras.Model`; input [batch, None, None, channels]
        (channels first: [batch, channels, None, None], endpoints too), logits
        float32 [batch, num_classes] under any precision.

    Raises:
        ValueError: for settings outside their range.
    """
    _check_count("num_classes", num_classes)
    _check_count("input_channels", input_channels)
    first = architecture.data_format == "channels_first"
    shape = (None, None, input_channels)
    inputs = keras.Input(
        (input_channels, None, None) if first else shape, name="image"
    )
    x = inputs
    if first:
        # Only the ends: TensorFlow has no kernels for it on every CPU, and on
        # a GPU its graph optimiser picks the layout that the device prefers.
        x = keras.layers.Permute((2, 3, 1), name="channels_last")(x)
    if preprocessing is not None:
        x = _preprocessing(x, preprocessing)
    builder = _Builder(architecture)
    x, endpoints = _blocks(builder, x)
    if first:
        endpoints = [
            keras.layers.Permute((3, 1, 2), name=f"reduction_{index}")(endpoint)
            for index, endpoint in enumerate(endpoints, 1)
        ]
    x = _head(builder, x, num_classes if include_top else None)
    outputs = [x, *endpoints] if with_endpoints else x
    model = keras.Model(inputs, outputs, name=architecture.name)
    # One clear line for a picture without a batch, or with other channels.
    model.input_spec = keras.layers.InputSpec(
        ndim=4, axes={1 if first else -1: input_channels}, name="image"
    )
    return model
