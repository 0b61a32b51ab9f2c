"""Rules from the model's variable names to those of other publishers.

Our names are keras.applications': 'block4a_expand_conv/kernel'. Every rule
takes `layers`, a dict from layer name to its variables' names in the order of
the model, and gives a dict from our layer name to theirs. What a block holds
decides its type, so nothing here knows a variant.
"""

import collections
import re

_BLOCK = re.compile(r"(block\d+)([a-z]+)_(.+)")
_HEAD = "predictions"


def variables(model):
    """The variables that weights files hold, by path.

    Args:
        model: A Keras model.

    Returns:
        A dict 'layer/variable' -> Keras variable, in the model's order. A
        nested model's name is cut off.
    """
    return {"/".join(v.path.split("/")[-2:]): v for v in model.weights}


def layers(paths):
    """Groups variable paths by layer, in order.

    Args:
        paths: Iterable of 'layer/variable'.

    Returns:
        A dict layer -> tuple of variable names.
    """
    result = {}
    for path in paths:
        layer, _, leaf = path.rpartition("/")
        result[layer] = (*result.get(layer, ()), leaf)
    return result


def is_head(path):
    """Whether a path belongs to the classifier."""
    return path.startswith(f"{_HEAD}/")


def _is_depthwise(layer):
    return layer.endswith(("dwconv", "dwconv2"))


def kernel_name(layer):
    """Name of the layer's kernel in Keras 2 and in the original."""
    return "depthwise_kernel" if _is_depthwise(layer) else "kernel"


def _is_norm(leaves):
    return "gamma" in leaves


def _numbered(name, counts):
    """Keras's names of equals: name, name_1, name_2, ..."""
    number = counts[name]
    counts[name] += 1
    return f"{name}_{number}" if number else name


def original(layers):
    """The released code's names, below the model's own scope.

    Blocks count through all stages; equal layers of a block are numbered in
    order. Normalisation layers, whose name there depends on the device, are
    called 'normalization'.

    Args:
        layers: See the module.

    Returns:
        A dict of layer names, as 'blocks_5/conv2d_1'.
    """
    result = {}
    scopes = {}
    counts = collections.defaultdict(collections.Counter)
    for layer, leaves in layers.items():
        match = _BLOCK.fullmatch(layer)
        if match:
            scope = match[1] + match[2]
            scope = scopes.setdefault(scope, f"blocks_{len(scopes)}")
            if match[3].startswith("se_"):
                scope += "/se"
        else:
            scope = "stem" if layer.startswith("stem_") else "head"
        if _is_norm(leaves):
            name = "normalization"
        elif layer == _HEAD:
            name = "dense"
        else:
            name = "depthwise_conv2d" if _is_depthwise(layer) else "conv2d"
        result[layer] = f"{scope}/{_numbered(name, counts[scope])}"
    return result


def timm(layers):
    """timm's module names (tf_efficientnet_*, tf_efficientnetv2_*).

    Args:
        layers: See the module.

    Returns:
        A dict of module names, as 'blocks.4.0.conv_pw'.
    """
    result = {
        "stem_conv": "conv_stem",
        "stem_bn": "bn1",
        "top_conv": "conv_head",
        "top_bn": "bn2",
        _HEAD: "classifier",
    }
    blocks = {}
    for layer in layers:
        match = _BLOCK.fullmatch(layer)
        if match:
            stage = blocks.setdefault(match[1], {})
            stage.setdefault(match[2], []).append(match[3])
    for stage_index, (stage, letters) in enumerate(blocks.items()):
        for block_index, (letter, parts) in enumerate(letters.items()):
            for part, name in _timm_block(parts).items():
                result[f"{stage}{letter}_{part}"] = (
                    f"blocks.{stage_index}.{block_index}.{name}"
                )
    return {layer: result[layer] for layer in layers if layer in result}


def _timm_block(parts):
    """Names of a block's parts; timm has four types of block."""
    depthwise = any(_is_depthwise(part) for part in parts)
    if depthwise and "expand_conv" in parts:
        convs = {"expand_conv": "conv_pw", "project_conv": "conv_pwl"}
    elif depthwise:
        convs = {"project_conv": "conv_pw"}
    elif "expand_conv" in parts:
        convs = {"expand_conv": "conv_exp", "project_conv": "conv_pwl"}
    else:
        convs = {"project_conv": "conv"}
    convs |= {"se_reduce": "se.conv_reduce", "se_expand": "se.conv_expand"}
    result = {}
    norms = 0
    for part in parts:
        if part.endswith("bn"):
            norms += 1
            result[part] = f"bn{norms}"
        elif _is_depthwise(part):
            result[part] = "conv_dw"
        elif part in convs:
            result[part] = convs[part]
    return result


def keras_groups(layers):
    """Keras 3's group names in a `.weights.h5` file.

    Args:
        layers: See the module.

    Returns:
        A dict of group names: the class in snake case, numbered by class.
    """
    counts = collections.Counter()
    result = {}
    for layer, leaves in layers.items():
        if _is_norm(leaves):
            moving = "moving_mean" in leaves
            name = f"{'batch' if moving else 'group'}_normalization"
        elif layer == _HEAD:
            name = "dense"
        else:
            name = "depthwise_conv2d" if _is_depthwise(layer) else "conv2d"
        result[layer] = _numbered(name, counts)
    return result


def keras_alias(layer):
    """The layer's name in keras.applications' other family.

    V1 calls a depthwise convolution dwconv, V2 dwconv2.
    """
    if layer.endswith("dwconv2"):
        return layer[:-1]
    return f"{layer}2" if layer.endswith("dwconv") else layer
