"""Picture -> features: finds the ink of a PNG, JPEG or WebP and counts it on an 8x8 grid, as the UCI digits were made.

The UCI set (E. Alpaydin, C. Kaynak: "Optical Recognition of Handwritten Digits", 1998, doi:10.24432/C50P49) scales a
digit to the full height of a 32x32 bitmap and counts the inked pixels of each 4x4 block: 0 to 16.
Whatever is wrong with the bytes, callers see an `InvalidImage` and nothing else.
"""

import io
import re
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from common.domain import marks, one_digit
from common.domain.light import find_ink_in_uneven_light

# These classes are opened directly: `Image.open` would first warn of, or refuse, a size by Pillow's limit, not ours.
FORMATS: dict[re.Pattern[bytes], type[ImageFile]] = {
    re.compile(rb"\x89PNG\r\n\x1a\n"): PngImageFile,
    re.compile(rb"\xff\xd8\xff"): JpegImageFile,
    re.compile(rb"RIFF.{4}WEBP", re.DOTALL): WebPImageFile,
}
GRID = 8
FULL_CELL = 16.0  # a 4x4 block of the 32x32 bitmap, all ink
ENOUGH = 256  # pixels a side; more adds nothing to 64 features
FINE = 64  # pixels a side to which a tiny digit is enlarged
CONTRAST = 0.08  # of the full range: what differs less from the paper is the paper's own noise
PAPER = 0.12  # of the darkest ink: JPEG ringing and grey edges below this are paper
GRAIN = 6  # median deviations of the paper, four standard ones: above this is ink
DEPTH_8 = 2**8 - 1  # the least that white is in 16 bits: cameras and scanners put 8, 10, 12 or 14 bits into them
DEPTH_14 = 2**6 - 1  # the most that white of 14 bits is in the upper 8 of 16, all that Pillow keeps of a colour
JPEG_FACTOR = 12  # a JPEG is decoded at a fraction of its size, so it may have so many times the pixels
PROGRESSIVE_FACTOR = 3  # the same of a JPEG of several scans, as a progressive one is: all of it is kept in memory,
KEPT_BANDS = 2  # of the full size; with more, it may have fewer pixels
AT_EDGE = 0.36  # of the edge is ink: a texture, or a shadow
ENOUGH_CELLS = 32  # pixels a side; in a smaller picture strokes may reach the edge anywhere
SPECK = 0.004  # of all ink: dust beyond the digit's outline weighs less than this

# Damaged EXIF makes Pillow warn; to a server that is a caller's bad picture and no message of its own.
warnings.filterwarnings("ignore", module=r"PIL\.")


class InvalidImage(ValueError):
    """Bytes that are no picture of a digit: why, and the HTTP status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """PNG, JPEG or WebP bytes -> an upright opaque `L` or `RGB` picture of less than 512 pixels a side.

    A JPEG may have 12 times `max_pixels`, a progressive one up to 3 times. Raises `InvalidImage`: 415 none of these,
    413 more pixels (by the header), 400 damaged.
    """
    opener = next((opener for magic, opener in FORMATS.items() if magic.match(data)), None)
    if opener is None:
        got = f"bytes that begin with {data[:8]!r}" if data else "nothing"
        raise InvalidImage(415, f"body: got {got}; send a PNG, JPEG or WebP picture")
    kind = ""
    try:
        image = opener(file := io.BytesIO(data))
        width, height = image.size
        if isinstance(image, JpegImageFile):
            factor, kind = _jpeg_limit(image, data[: file.tell()])
            max_pixels = int(max_pixels * factor)
        if width * height <= max_pixels:
            return _reduce(image)
    except Exception as error:  # Pillow raises SyntaxError, struct.error, OSError, ValueError, ... on damaged files
        raise InvalidImage(400, f"body: expected a whole picture, got a damaged one ({error})") from error
    got = f"{width} x {height}{kind}"
    raise InvalidImage(413, f"body: expected at most {max_pixels} pixels, got {got}; send a smaller picture")


def _jpeg_limit(image: JpegImageFile, header: bytes) -> tuple[float, str]:
    """How many times `max_pixels` a JPEG may have, and what it is if that is few. The first scan ends its header."""
    areas: list[int] = [across * down for _, across, down, _ in image.layer]
    scans = ((bands, bytes([0xFF, 0xDA, 0, 6 + 2 * bands, bands])) for bands in range(1, len(areas)))
    if "progressive" in image.info:
        kind = " of a progressive JPEG"
    elif any(header[-8 - 2 * bands :].startswith(start) for bands, start in scans):  # not of all bands
        kind = " of a JPEG of several scans"
    else:
        return JPEG_FACTOR, ""
    kept = sum(areas) / max(areas)  # a colour that is subsampled counts less
    return PROGRESSIVE_FACTOR * KEPT_BANDS / max(KEPT_BANDS, kept), kind


def _reduce(file: ImageFile) -> Image.Image:
    factor = max(1, max(file.size) // ENOUGH)  # by the longer side, else a long strip would be decoded as a whole
    file.draft(None, (max(1, file.width // factor), max(1, file.height // factor)))  # only of a JPEG
    image: Image.Image = file
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow's own conversion would clip, not scale
        values = np.asarray(image)
        image = Image.fromarray((values * (255.0 / max(int(values.max()), DEPTH_8))).astype(np.uint8))
    elif any(str(tile.args).endswith(";16B") for tile in file.tile):
        image = _stretch(image)
    mode = "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB"
    image = ImageOps.exif_transpose(image.convert(mode).reduce(max(1, max(image.size) // ENOUGH)))
    return _on_paper(image) if mode == "RGBA" else image


def _stretch(image: Image.Image) -> Image.Image:
    """A picture of 16 bits a colour, 14 or fewer of them used, as bright as one that uses all; the same of alpha."""
    highest = np.asarray(image).max(axis=(0, 1)).tolist()
    brightest = [max(highest[:3])] * 3 + highest[3:]
    scales = [255 / max(high, 1) if high <= DEPTH_14 else 1.0 for high in brightest]
    return image.point([min(255, int(value * scale)) for scale in scales for value in range(256)])


def _on_paper(drawing: Image.Image) -> Image.Image:
    """Lays a transparent drawing on paper that its ink stands out from: dark ink on white, light ink on black."""
    drawn = drawing.crop(drawing.getbbox())
    brightness = drawn.resize((1, 1), Image.Resampling.BOX).convert("RGB").convert("L").tobytes()[0]
    paper = Image.new("RGBA", drawing.size, "white" if brightness < 128 else "black")
    return Image.alpha_composite(paper, drawing).convert("RGB")


def find_ink(image: Image.Image) -> NDArray[np.float32]:
    """How much each pixel of an `L` or `RGB` picture differs from the paper: (height, width), 0 to 1 the strongest ink.

    Paper is the median colour along the border, so dark on light and light on dark are the same; in uneven light it is
    what is around the ink. Raises `InvalidImage` 422 if nothing stands out.
    """
    bands = np.stack([np.asarray(band, dtype=np.float32) for band in image.split()])  # bands first: 9 times faster
    border = np.concatenate([bands[:, 0], bands[:, -1], bands[:, :, 0], bands[:, :, -1]], axis=1)
    paper = np.median(border, axis=1, keepdims=True)
    ink: NDArray[np.float32] = np.abs(bands - paper[..., None]).max(axis=0)
    strongest = float(ink.max())
    if strongest < CONTRAST * 255:
        raise InvalidImage(422, "body: got a picture without ink; send one of a digit, dark on light or light on dark")
    grain = float(np.median(np.abs(border - paper)))  # of a photographed sheet; a clean one has none
    ink[ink < np.clip(GRAIN * grain, PAPER * strongest, strongest / 2)] = 0
    ink /= strongest
    in_uneven_light = find_ink_in_uneven_light(bands, ink)
    if in_uneven_light is None:
        return ink
    if not in_uneven_light.any():
        raise InvalidImage(422, "body: expected a picture of one digit, got light too uneven to tell ink from shadows")
    return in_uneven_light


def require_digit(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """The ink of what may be a digit. Raises `InvalidImage` 422 for text, two digits, noise and the like."""
    rows, columns = _extent(ink.sum(axis=1)), _extent(ink.sum(axis=0))
    edge = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    if len(edge) > 4 * ENOUGH_CELLS and (edge > marks.INKED).mean() > AT_EDGE:
        raise InvalidImage(422, "body: expected a picture of one digit, got one with much ink along its edge")
    if reason := one_digit.what_is_no_digit(ink[rows, columns], may_be_in_pieces=True):
        raise InvalidImage(422, f"body: expected a picture of one digit, got {reason}")
    return ink


def to_features(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ink of shape (height, width), 0 to 1 -> ink per cell of the 8x8 grid, shape (64,), 0 to 16, row by row."""
    ink = ink[_extent(ink.sum(axis=1)), _extent(ink.sum(axis=0))]
    enlarge = -(-FINE // max(ink.shape))  # so that two cells can share a pixel of a tiny picture
    ink = ink.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    height, width = ink.shape
    side = max(height, width)
    square = np.zeros((side, side), dtype=np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = ink
    cells = Image.fromarray(square).resize((GRID, GRID), Image.Resampling.BOX)
    return np.asarray(cells, dtype=np.float32).ravel() * np.float32(FULL_CELL)


def _extent(profile: NDArray[np.float32]) -> slice:
    """Where, along one side, all but the specks of ink lie."""
    share = np.cumsum(profile) / profile.sum()
    return slice(int(np.searchsorted(share, SPECK)), int(np.searchsorted(share, 1 - SPECK)) + 1)
