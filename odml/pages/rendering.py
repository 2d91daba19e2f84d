"""Templates and the pictures in them."""

from __future__ import annotations

import base64
import io

import jinja2
from PIL import Image


def template(package: str, name: str) -> jinja2.Template:
    """Load a package's template of a page; it has the filters png and jpeg (of a picture) and percent (of a share)."""
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(each, ".") for each in (package, "odml.pages")])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"png": png, "jpeg": jpeg, "percent": lambda share: f"{100 * share:.3g} %"}
    return environment.get_template(name)


def png(picture: Image.Image) -> str:
    """Give a chart as the address of a picture in the page itself, in 128 colours."""
    return data_uri(picture.quantize(128), "png")


def jpeg(picture: Image.Image) -> str:
    """Give a photo as the address of a picture in the page itself."""
    return data_uri(picture, "jpeg", quality=85)


def data_uri(picture: Image.Image, image_format: str, **options: int) -> str:
    """Encode a picture, with Pillow's options of the format, as the address that holds it (RFC 2397)."""
    encoded = io.BytesIO()
    picture.save(encoded, image_format, **options)
    return f"data:image/{image_format};base64,{base64.b64encode(encoded.getvalue()).decode()}"
