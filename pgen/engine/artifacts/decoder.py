"""From model space back to images in charge units; for latent codes through the decoder of the auto-encoder they came from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from pgen.data.transforms.charge import ChargeTransform
from pgen.engine.artifacts.weights import WeightsHeader, digest, load_module
from pgen.errors import PgenError
from pgen.plugins.specs import DataInfo


class ImageDecoder(nn.Module):
    """forward: model-space images (n, C, H, W), or standardised codes (n, D) with a decoder, to images (n, C, H, W) in charge units."""

    def __init__(self, info: DataInfo, decoder: nn.Module | None = None, decoder_info: DataInfo | None = None) -> None:
        super().__init__()
        self.decoder = decoder
        image_info = decoder_info or info
        assert image_info.transform is not None
        self.transform = ChargeTransform.from_dict(image_info.transform)
        self.unit = image_info.unit
        if decoder is not None:
            assert info.codes is not None
            self.register_buffer("mean", torch.tensor(info.codes["mean"]))
            self.register_buffer("std", torch.tensor(info.codes["std"]))

    def forward(self, samples: Tensor) -> Tensor:
        if self.decoder is not None:
            samples = self.decoder.decode(samples * self.std + self.mean)  # type: ignore[operator]
        return self.transform.inverse(samples.float())


def make_image_decoder(info: DataInfo, own_decoder: Path, decoder_run: str | None = None) -> ImageDecoder:
    """The way back for data like ``info``. own_decoder: the decoder kept in the run. decoder_run: another auto-encoder run, by --decoder.

    UserError where codes have no decoder, or one of another latent size or of another training.
    """
    if info.kind == "images":
        if decoder_run is not None:
            raise PgenError(f"--decoder {decoder_run}: this model makes images, not codes; leave --decoder out.")
        return ImageDecoder(info)
    if decoder_run is not None:
        path = Path(decoder_run) / "model" / "weights.safetensors" if Path(decoder_run).is_dir() else Path(decoder_run)
    elif own_decoder.is_file():
        path = own_decoder
    else:
        raise PgenError(f"The codes {info.name} came without a decoder; name their auto-encoder run with --decoder.")
    decoder, header = load_decoder(path, info)
    return ImageDecoder(info, decoder, header.data)


def load_decoder(path: Path, info: DataInfo) -> tuple[nn.Module, WeightsHeader]:
    """The auto-encoder that made the codes; UserError where the weights at ``path`` are of another one."""
    assert info.codes is not None
    decoder, header = load_module(path)
    if not callable(getattr(decoder, "decode", None)):
        raise PgenError(f"--decoder {path}: model {header.model!r} has no decoder; name an auto-encoder run.")
    size = getattr(decoder, "latent_size", None)
    if size is not None and size != info.size:
        raise PgenError(
            f"--decoder {path}: its latent codes have {size} values, the generator makes {info.size}; name the run that wrote {info.name}."
        )
    wanted = (info.codes["encoder"] or {}).get("weights")
    if wanted is not None and wanted != digest(path):
        raise PgenError(
            f"--decoder {path}: the codes {info.name} were made by other weights, of another training or checkpoint; name the "
            "decoder.safetensors that pgen deploy wrote beside them, or deploy this run anew."
        )
    return decoder, header
