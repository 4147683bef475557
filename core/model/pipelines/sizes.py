"""Sizes of pictures that networks can take. Torch-free."""


def nearest_multiple(length: int | float, step: int) -> int:
    """The multiple of `step` that is nearest to a length; at least `step`."""
    return max(step, round(length / step) * step)


def require_multiple(width: int, height: int, step: int) -> None:
    """Raises ValueError, with the nearest size that is possible, unless both sides are multiples of `step` pixels."""
    near_width, near_height = nearest_multiple(width, step), nearest_multiple(height, step)
    if (near_width, near_height) != (width, height):
        raise ValueError(
            f"{width}x{height} is not possible: width and height must be multiples of {step};"
            f" the nearest size is {near_width}x{near_height}"
        )
