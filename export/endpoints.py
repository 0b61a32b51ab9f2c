"""Feature maps of a model, found in its graph."""


def endpoints(model):
    """Finds the last feature map of each size.

    Args:
        model: Functional model of `efficientnetv2.model`.

    Returns:
        A list [reduction_1, ...] of tensors: the outputs of the blocks before
        each stride, and of the last one.
    """
    # Layers of a block share the start of their names, 'block2a_'.
    by_name = {}
    for layer in model.layers:
        if layer.name.startswith("block"):
            by_name.setdefault(layer.name.partition("_")[0], []).append(layer)
    blocks = list(by_name.values())
    strided = [
        any(max(getattr(layer, "strides", (1,))) > 1 for layer in block)
        for block in blocks
    ]
    return [
        block[-1].output
        for block, ends in zip(blocks, [*strided[1:], True], strict=True)
        if ends
    ]
