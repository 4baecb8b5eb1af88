"""Chains of blocks against the networks that they were made from, for one member of every family.

    python tests/backbone_families.py             the whole table, family by family, and the count (about 10 minutes)
    python tests/backbone_families.py vgg swin_t  some of them
    python tests/backbone_families.py --export    what a device predicts, refreshes, solves and trains as torch does
                                                  (36 minutes of one core); --part 2/4 takes the second quarter

The reference is a copy of the network, which the chain never touches. Each family has its smallest member, at the
smallest of 32, 48, 64, 96, 128, ... px that the network itself takes; networks that have no small member are made with
fewer layers.
"""

from __future__ import annotations

import copy
import gc
import sys
import time
from argparse import ArgumentParser
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tbft.errors import BadInput
from tbft.models.traced import chain_of


@dataclass(frozen=True)
class Family:
    """One member of a family of networks.

    Attributes:
        library: ``timm`` or ``torchvision``.
        name: of the family: timm's module, torchvision's smallest member.
        member: name of the network.
        size: side of the images, in pixels.
        options: arguments that make it small, or make it a classifier in training too.
    """

    library: str
    name: str
    member: str
    size: int = 32
    options: dict[str, Any] = field(default_factory=dict)

    def make(self) -> nn.Module:
        """The network, with fresh weights and ten classes."""
        torch.manual_seed(0)
        if self.library == "torchvision":
            from torchvision.models import get_model

            return get_model(self.member, num_classes=10, **self.options)
        import timm

        try:
            return timm.create_model(self.member, num_classes=10, img_size=self.size, **self.options)
        except TypeError:  # it takes images of any size
            return timm.create_model(self.member, num_classes=10, **self.options)


FAMILIES = (
    Family("timm", "beit", "beit_base_patch16_224", options={"depth": 3}),
    Family("timm", "byoanet", "eca_botnext26ts_256"),
    Family("timm", "byobnet", "mobileone_s1"),
    Family("timm", "cait", "cait_xxs24_224"),
    Family("timm", "coat", "coat_tiny"),
    Family("timm", "convit", "convit_tiny"),
    Family("timm", "convmixer", "convmixer_768_32"),
    Family("timm", "convnext", "convnext_atto"),
    Family("timm", "cpubone", "cpubone_nano"),
    Family("timm", "crossvit", "crossvit_tiny_240", 240),
    Family("timm", "csatv2", "csatv2", 64),
    Family("timm", "cspnet", "cs3darknet_focus_s"),
    Family("timm", "cspnext", "cspnext_tiny"),
    Family("timm", "davit", "davit_tiny"),
    Family("timm", "deepseek_vit", "deepseek_vit_412m", 56, options={"depth": 3}),
    Family("timm", "deit", "deit_tiny_patch16_224"),
    Family("timm", "densenet", "densenet121"),
    Family("timm", "dla", "dla46x_c"),
    Family("timm", "dpn", "dpn48b"),
    Family("timm", "edgenext", "edgenext_xx_small"),
    Family("timm", "efficientformer", "efficientformer_l1", 224),
    Family("timm", "efficientformer_v2", "efficientformerv2_s0"),
    Family("timm", "efficientnet", "efficientnet_lite0"),
    Family("timm", "efficientvim", "efficientvim_m1"),
    Family("timm", "efficientvit_mit", "efficientvit_b0"),
    Family("timm", "efficientvit_msra", "efficientvit_m0"),
    Family("timm", "eva", "eva02_tiny_patch14_224", 56),
    Family("timm", "fasternet", "fasternet_t0"),
    Family("timm", "fastvit", "fastvit_t8"),
    Family("timm", "focalnet", "focalnet_tiny_srf"),
    Family("timm", "gcvit", "gcvit_xxtiny"),
    Family("timm", "gemma4_vit", "gemma4_vit_167m", options={"depth": 3}),
    Family("timm", "ghostnet", "ghostnet_050"),
    Family("timm", "hardcorenas", "hardcorenas_b"),
    Family("timm", "hgnet", "hgnetv2_b0"),
    Family("timm", "hiera", "hiera_tiny_224"),
    Family("timm", "hieradet_sam2", "sam2_hiera_tiny"),
    Family("timm", "hrnet", "hrnet_w18_small"),
    Family("timm", "iformer", "iformer_t"),
    Family("timm", "inception_next", "inception_next_atto"),
    Family("timm", "inception_resnet_v2", "inception_resnet_v2", 96),
    Family("timm", "inception_v3", "inception_v3", 96),
    Family("timm", "inception_v4", "inception_v4", 96),
    Family("timm", "lcnetv2", "lcnetv2_small"),
    Family("timm", "levit", "levit_128s"),
    Family("timm", "lowformer", "lowformer_b0"),
    Family("timm", "mambaout", "mambaout_femto"),
    Family("timm", "maxxvit", "maxvit_pico_rw_256"),
    Family("timm", "metaformer", "poolformerv2_s12"),
    Family("timm", "mlp_mixer", "gmlp_ti16_224"),
    Family("timm", "mobilenetv3", "mobilenetv3_small_050"),
    Family("timm", "mobilenetv5", "mobilenetv5_base"),
    Family("timm", "mobilevit", "mobilevit_xxs"),
    Family("timm", "mvitv2", "mvitv2_tiny"),
    Family("timm", "naflexvit", "naflexvit_base_patch16_gap"),
    Family("timm", "nasnet", "nasnetalarge"),
    Family("timm", "nest", "nest_tiny"),
    Family("timm", "nextvit", "nextvit_small"),
    Family("timm", "nfnet", "nf_regnet_b0"),
    Family("timm", "pit", "pit_ti_224"),
    Family("timm", "pnasnet", "pnasnet5large"),
    Family("timm", "pvt_v2", "pvt_v2_b0"),
    Family("timm", "qwen3_vit", "qwen3_vit_88m", options={"depth": 3}),
    Family("timm", "rdnet", "rdnet_tiny"),
    Family("timm", "regnet", "regnetx_002"),
    Family("timm", "repghost", "repghostnet_050"),
    Family("timm", "repvit", "repvit_m1"),
    Family("timm", "res2net", "res2net50_26w_4s"),
    Family("timm", "resnest", "resnest26d"),
    Family("timm", "resnet", "resnet18"),
    Family("timm", "resnetv2", "resnetv2_18"),
    Family("timm", "rexnet", "rexnet_100"),
    Family("timm", "selecsls", "selecsls42"),
    Family("timm", "senet", "legacy_seresnet18"),
    Family("timm", "sequencer", "sequencer2d_s"),
    Family("timm", "shvit", "shvit_s1"),
    Family("timm", "sknet", "skresnet18"),
    Family("timm", "starnet", "starnet_s050"),
    Family("timm", "swiftformer", "swiftformer_s"),
    Family("timm", "swin_transformer", "swin_tiny_patch4_window7_224"),
    Family("timm", "swin_transformer_v2", "swinv2_tiny_window16_256"),
    Family("timm", "swin_transformer_v2_cr", "swinv2_cr_tiny_224"),
    Family("timm", "tiny_vit", "tiny_vit_5m_224"),
    Family("timm", "tnt", "tnt_s_legacy_patch16_224"),
    Family("timm", "tresnet", "tresnet_m"),
    Family("timm", "twins", "twins_svt_small"),
    Family("timm", "vgg", "vgg11", 64),
    Family("timm", "visformer", "visformer_tiny"),
    Family("timm", "vision_transformer", "vit_tiny_patch16_224"),
    Family("timm", "vision_transformer_hybrid", "vit_tiny_r_s16_p8_224"),
    Family("timm", "vision_transformer_relpos", "vit_srelpos_small_patch16_224"),
    Family("timm", "vision_transformer_sam", "samvit_base_patch16_224", options={"depth": 3}),
    Family("timm", "vitamin", "vitamin_small_224"),
    Family("timm", "volo", "volo_d1_224"),
    Family("timm", "vovnet", "ese_vovnet19b_slim_dw"),
    Family("timm", "xception", "legacy_xception"),
    Family("timm", "xception_aligned", "xception41p"),
    Family("timm", "xcit", "xcit_nano_12_p8_224"),
    Family("torchvision", "alexnet", "alexnet", 64),
    Family("torchvision", "convnext_tiny", "convnext_tiny"),
    Family("torchvision", "densenet121", "densenet121"),
    Family("torchvision", "efficientnet_b0", "efficientnet_b0"),
    Family("torchvision", "efficientnet_v2_s", "efficientnet_v2_s"),
    Family("torchvision", "googlenet", "googlenet", options={"aux_logits": False, "init_weights": False}),
    Family("torchvision", "inception_v3", "inception_v3", 96, options={"aux_logits": False, "init_weights": False}),
    Family("torchvision", "maxvit_t", "maxvit_t", 224, options={"input_size": (224, 224)}),
    Family("torchvision", "mnasnet0_5", "mnasnet0_5"),
    Family("torchvision", "mobilenet_v2", "mobilenet_v2"),
    Family("torchvision", "mobilenet_v3_small", "mobilenet_v3_small"),
    Family("torchvision", "regnet_y_400mf", "regnet_y_400mf"),
    Family("torchvision", "resnet18", "resnet18"),
    Family("torchvision", "shufflenet_v2_x0_5", "shufflenet_v2_x0_5"),
    Family("torchvision", "squeezenet1_1", "squeezenet1_1"),
    Family("torchvision", "swin_t", "swin_t"),
    Family("torchvision", "swin_v2_t", "swin_v2_t"),
    Family("torchvision", "vgg11", "vgg11"),
    Family("torchvision", "vit_b_32", "vit_b_32", options={"image_size": 32}),
)


def check_family(family: Family) -> str:
    """Compare a chain, entered at every link, with a copy of its network.

    Returns:
        What differs, in words; empty if nothing does.
    """
    network = family.make()
    reference = copy.deepcopy(network)
    chain = chain_of(network, image_size=family.size)
    images = torch.randn(4, 3, family.size, family.size, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 3])
    for training in (False, True):  # statistics must be as they were before
        expected = _pass(reference.train(training), images, labels, [None])
        found = _pass(chain.train(training), images, labels, list(chain.links))
        for what, tolerance in (("outputs", 1e-6), ("gradients", 1e-5), ("buffers", 1e-6)):
            theirs, mine = expected[what], found[what]
            if theirs.keys() != mine.keys():
                return f"{what} of other names"
            worst = max((_difference(value, mine[name]) for name, value in theirs.items()), default=0.0)
            if not worst <= tolerance:
                return f"{what} differ by {worst:.1e} (training: {training})"
    return ""


def _pass(network: nn.Module, images: Tensor, labels: Tensor, links: list[Any]) -> dict[str, dict[str, Tensor]]:
    """One step forward and backward: link by link, or at once where the only link is ``None``."""
    torch.manual_seed(2)
    network.zero_grad()
    x = images.clone()
    for link, following in zip(links, [*links[1:], None], strict=True):
        x = network(x) if link is None else network(x, start=link, stop=following)
    nn.functional.cross_entropy(x, labels).backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    norm = max(float(g.norm()) for g in gradients.values())
    # A gradient that is zero but for rounding is held against the largest one.
    scaled = {name: torch.cat([g.flatten(), g.new_tensor([norm * 1e-3])]) for name, g in gradients.items()}
    persistent = network.state_dict()
    buffers = {name: b.double().clone() for name, b in network.named_buffers() if name in persistent}
    return {"outputs": {"logits": x.detach()}, "gradients": scaled, "buffers": buffers}


def _difference(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    if torch.equal(a, b):
        return 0.0
    return float((a - b).abs().max() / a.abs().max())


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 0 if at least 110 families are exact, or all of those that are named.

    A family counts as exact on a device if the device predicts, and refreshes statistics and solves the head where the
    network has these, as torch does; the last stage's training is a column of its own.
    """
    parser = ArgumentParser(description="Chains of blocks, or their exports, against the networks they were made from.")
    parser.add_argument("names", nargs="*", help="of families or of their members (default: all)")
    parser.add_argument("--export", action="store_true", help="compare what a device computes")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="the k-th of n parts of the list (default: all)")
    options = parser.parse_args(arguments)
    from exported_families import check_export, summary_of

    part, parts = map(int, options.part.split("/"))
    names = set(options.names)
    chosen = [family for family in FAMILIES if not names or {family.name, family.member} & names][part - 1 :: parts]
    exact, outcomes = 0, []
    for family in chosen:
        began = time.process_time()
        try:
            if options.export:
                outcome = check_export(family.make(), family.size)
                outcomes.append(outcome)
                problem = "" if outcome.is_exact else outcome.describe()
                told = outcome.describe()
            else:
                told = problem = check_family(family)
        except BadInput as error:
            told = problem = str(error)
        except Exception as error:  # the others go on
            told = problem = f"{type(error).__name__}: {error}"
        exact += not problem
        seconds = time.process_time() - began
        print(
            f"{family.library:11} {family.name:26} {family.member:34} {family.size:3} px {seconds:5.1f} CPU-s  "
            f"{told or 'exact'}",
            flush=True,
        )
        gc.collect()
    print(f"{exact} of {len(chosen)} families are exact")
    if options.export:
        print(summary_of(outcomes))
    return 0 if exact >= min(110, len(chosen)) else 1


if __name__ == "__main__":
    sys.exit(main())
