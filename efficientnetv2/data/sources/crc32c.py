"""The checksum of TFRecord files: CRC-32C, masked."""

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
_MASK_DELTA = 0xA282EAD8


def _after_byte(crc):
    for _ in range(8):
        crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc


_TABLE = [_after_byte(byte) for byte in range(256)]


def masked(data):
    """The masked CRC-32C of some bytes; slow, for short ones.

    Args:
        data: bytes.

    Returns:
        An int, as TFRecord files store it.
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
