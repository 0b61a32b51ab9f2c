"""EfficientNetV1 and V2 as functional Keras models.

Built from an `Architecture`: stem, MBConv and Fused-MBConv blocks, head
(arXiv 2104.00298, figure 2 and table 4). Layers are named as in
keras.applications, so that weights map by rule. Runs on every Keras backend.
"""

import keras

from efficientnetv2 import layers, normalization, scaling

_PREPROCESSING = {
    # style: (scale, offset) of 0..255 RGB
    "v2": (1 / 128, -1.0),
    "v1": (
        [1 / (255 * deviation) for deviation in (0.229, 0.224, 0.225)],
        [
            -mean / deviation
            for mean, deviation in (
                (0.485, 0.229), (0.456, 0.224), (0.406, 0.225),
            )
        ],
    ),
}
# fan_out counts one channel for a depthwise kernel (arXiv 1502.01852).
_KERNEL_INITIALIZER = ("VarianceScaling", {
    "scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal",
})


class _Builder:
    """Layers of one architecture: settings shared by all of its blocks."""

    def __init__(self, architecture):
        self.architecture = architecture
        first = architecture.data_format == "channels_first"
        if architecture.data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                "data_format must be 'channels_last' or 'channels_first'. "
                f"Received: {architecture.data_format!r}"
            )
        self.channel_axis = 1 if first else -1

    def conv(self, x, filters, kernel_size, name, *, strides=1, bias=False):
        return keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding="same",
            use_bias=bias,
            kernel_initializer=_kernel_initializer(),
            data_format=self.architecture.data_format,
            name=name,
        )(x)

    def depthwise(self, x, kernel_size, strides, name):
        return keras.layers.DepthwiseConv2D(
            kernel_size,
            strides=strides,
            padding="same",
            use_bias=False,
            depthwise_initializer=_kernel_initializer(),
            data_format=self.architecture.data_format,
            name=name,
        )(x)

    def norm(self, x, name):
        architecture = self.architecture
        if architecture.bn_type == "gn":
            return keras.layers.GroupNormalization(
                groups=architecture.gn_groups,
                axis=self.channel_axis,
                epsilon=architecture.bn_epsilon,
                name=name,
            )(x)
        if architecture.bn_type not in (None, "local"):
            raise ValueError(
                "bn_type must be None, 'local' or 'gn'. "
                f"Received: {architecture.bn_type!r}"
            )
        return normalization.BatchNormalization(
            axis=self.channel_axis,
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
            data_format=self.architecture.data_format,
            keepdims=keepdims,
            name=name,
        )(x)

    def squeeze_excite(self, x, filters, name):
        """Reweights channels by their global means (arXiv 1709.01507)."""
        gate = self.mean(x, f"{name}se_squeeze", keepdims=True)
        gate = self.conv(gate, filters, 1, f"{name}se_reduce", bias=True)
        gate = self.activation(gate, f"{name}se_activation")
        channels = x.shape[self.channel_axis]
        gate = self.conv(gate, channels, 1, f"{name}se_expand", bias=True)
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


def _preprocessing(x, style, architecture):
    first = architecture.data_format == "channels_first"
    channels = x.shape[1 if first else -1]
    scale, offset = _PREPROCESSING[style]
    if style == "v1" and channels != 3:
        raise ValueError(
            "include_preprocessing with ImageNet mean and deviation needs "
            f"input_channels 3. Received: input_channels={channels}"
        )
    if style == "v1" and first:
        scale, offset = (
            [[[value]] for value in values] for values in (scale, offset)
        )
    return keras.layers.Rescaling(scale, offset, name="preprocessing")(x)


def build(
    architecture,
    *,
    num_classes=1000,
    include_top=True,
    input_channels=3,
    with_endpoints=False,
    preprocessing=None,
):
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
        (channels first: [batch, channels, None, None]), logits float32
        [batch, num_classes] under any precision.

    Raises:
        ValueError: for settings outside their range.
    """
    for name, value in (
        ("num_classes", num_classes),
        ("input_channels", input_channels),
    ):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be >= 1. Received: {value!r}")
    builder = _Builder(architecture)
    stages = scaling.scale_stages(architecture)
    shape = (None, None, input_channels)
    if builder.channel_axis == 1:
        shape = (input_channels, None, None)
    inputs = keras.Input(shape, name="image")
    x = inputs
    if preprocessing is not None:
        x = _preprocessing(x, preprocessing, architecture)
    x = builder.conv_norm_act(x, stages[0].input_filters, 3, "stem", 2)
    blocks = scaling.expand_stages(stages)
    endpoints = []
    for index, (stage, block, spec) in enumerate(blocks):
        rate = scaling.drop_rate(architecture.survival_prob, index, len(blocks))
        x = _block(builder, x, spec, rate, f"block{stage + 1}{_letter(block)}_")
        after = blocks[index + 1 :]
        if not after or after[0][2].strides > 1:
            endpoints.append(x)
    x = _head(builder, x, num_classes if include_top else None)
    outputs = [x, *endpoints] if with_endpoints else x
    return keras.Model(inputs, outputs, name=architecture.name)


def _head(builder, x, num_classes):
    architecture = builder.architecture
    filters = scaling.scale_filters(architecture, architecture.feature_size)
    x = builder.conv_norm_act(x, filters, 1, "top")
    x = builder.mean(x, "avg_pool")  # [batch, filters]
    if num_classes is None:
        return x
    # Present at rate 0 too: the rate may rise in a later training stage.
    x = layers.Dropout(architecture.dropout_rate, name="top_dropout")(x)
    bias = keras.initializers.Constant(architecture.headbias or 0.0)
    return keras.layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.VarianceScaling(
            1 / 3, "fan_out", "uniform"
        ),
        bias_initializer=bias,
        dtype="float32",
        name="predictions",
    )(x)


def _letter(index):
    """Name of a block in its stage: a .. z, then aa, ab, ..."""
    head, tail = divmod(index, 26)
    return (_letter(head - 1) if head else "") + chr(ord("a") + tail)
