"""From model space to images in charge units.

For latent codes through the decoder of their auto-encoder.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from pgen.data.transforms.charge import ChargeTransform
from pgen.data.transforms.latent_scaler import LatentScaler
from pgen.engine.artifacts.weights import WeightsHeader, digest, load_module
from pgen.errors import ConfigError, RunError, option
from pgen.plugins.specs import DataInfo


class ImageDecoder(nn.Module):
    """Maps model space to images in charge units.

    Attributes:
        decoder: The auto-encoder of latent codes; None for a model of images.
        transform: The charge transform, which is undone.
        unit: Unit of charge.
        threshold: Zero suppression of the images, in ``unit``.
    """

    def __init__(self, info: DataInfo, decoder: nn.Module | None = None, decoder_info: DataInfo | None = None) -> None:
        super().__init__()
        self.decoder = decoder
        image_info = decoder_info or info
        assert image_info.transform is not None
        self.transform = ChargeTransform.from_dict(image_info.transform)
        self.unit, self.threshold = image_info.unit, float(self.transform.threshold)
        if decoder is not None:
            assert info.codes is not None
            scaler = LatentScaler.from_dict(info.codes)
            self.register_buffer("mean", scaler.mean)
            self.register_buffer("std", scaler.std)

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples in model space, (n, C, H, W) or codes (n, D), to charge (n, C, H, W)."""
        if self.decoder is not None:
            codes = LatentScaler(self.mean, self.std).inverse(samples)  # type: ignore[arg-type]
            samples = self.decoder.decode(codes)  # type: ignore[operator]
        return self.transform.inverse(samples.float())


def make_image_decoder(info: DataInfo, own_decoder: Path, decoder_run: str | None = None) -> ImageDecoder:
    """Make the image decoder of a model.

    Args:
        info: The model's training data.
        own_decoder: Where the run keeps a copy of the decoder.
        decoder_run: Another auto-encoder run, or its weights.

    Raises:
        ConfigError: A decoder is missing, not needed, or not the one that made the codes.
    """
    if info.kind == "images":
        if decoder_run is not None:
            raise ConfigError(f"{option('decoder', decoder_run)}: this model generates images, not codes; leave {option('decoder')} out.")
        return ImageDecoder(info)
    if decoder_run is not None:
        path = Path(decoder_run) / "model" / "weights.safetensors" if Path(decoder_run).is_dir() else Path(decoder_run)
    elif own_decoder.is_file():
        path = own_decoder
    else:
        raise ConfigError(f"The codes {info.name} came without a decoder; name their auto-encoder run with {option('decoder')}.")
    decoder, header = load_decoder(path, info)
    return ImageDecoder(info, decoder, header.data)


def load_decoder(path: Path, info: DataInfo) -> tuple[nn.Module, WeightsHeader]:
    """Load the auto-encoder that made latent codes.

    Raises:
        RunError: The weights at ``path`` are of another auto-encoder.
    """
    assert info.codes is not None
    name = option("decoder", path)
    decoder, header = load_module(path)
    if not callable(getattr(decoder, "decode", None)):
        raise RunError(f"{name}: model {header.model!r} has no decoder; name an auto-encoder run.")
    size = getattr(decoder, "latent_size", None)
    if size is not None and size != info.size:
        raise RunError(
            f"{name}: its latent codes have {size} values, the generator makes {info.size}; name the run that wrote {info.name}."
        )
    expected = (info.codes["encoder"] or {}).get("weights")
    if expected is not None and expected != digest(path):
        raise RunError(
            f"{name}: the codes {info.name} were made by other weights, of another training or checkpoint; name the "
            "decoder.safetensors that pgen deploy wrote next to them, or deploy this run again."
        )
    return decoder, header
