"""Small random networks of the architecture of Stable Diffusion 1.5, as files, and doubles of them."""

import json
from types import SimpleNamespace

import torch

from facemend.stages import diffusion
from facemend.weights.hub import Places
from tests.pictures import CPU

WORDS = 77  # of a prompt


def scheduler():
    """A scheduler with the schedule of Stable Diffusion 1.5."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip


def save_base(folder, seed=0, channels=8):
    """Save a pipeline as diffusers does, and return it."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(channels,) * 4,
        norm_num_groups=4,
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
    )
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=(channels // 2,) * 4,
        norm_num_groups=2,
        latent_channels=4,
    )
    config = CLIPTextConfig(
        vocab_size=600, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=WORDS, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    tokenizer = folder / "made"
    tokenizer.mkdir(parents=True)
    letters = [chr(code) for code in range(33, 127)]
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (tokenizer / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(vocabulary)}))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(config),
        tokenizer=CLIPTokenizer.from_pretrained(tokenizer, model_max_length=WORDS),
        unet=unet,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder / "base")
    return pipeline


def save_control(folder, pipeline, zero=False):
    """Save a ControlNet for the UNet of a pipeline, and return it; its output is not zero unless that is asked for."""
    from diffusers import ControlNetModel

    control = ControlNetModel.from_unet(pipeline.unet)
    if not zero:
        for block in (*control.controlnet_down_blocks, control.controlnet_mid_block):
            torch.nn.init.normal_(block.weight, std=0.1)
        torch.nn.init.normal_(control.controlnet_cond_embedding.conv_out.weight, std=0.1)
    control.save_pretrained(folder / "control")
    return control


def loaded(folder):
    """The networks of a folder in which both were saved."""
    return diffusion.load(Places(folder / "base", folder / "control", folder / "base"), CPU)


class Doubles(diffusion.Diffusion):
    """The samplers of diffusers with simple functions in place of the networks.

    The VAE averages squares of 8 px, and enlarges smoothly. The UNet is `predicting`, (1, 4, h, w) and alpha of the
    timestep -> (1, 4, h, w).
    """

    def __init__(self, predicting):
        self.name, self.device, self.predicting = "doubles", CPU, predicting
        self._pipeline = SimpleNamespace(scheduler=scheduler())
        self.alphas = self._pipeline.scheduler.alphas_cumprod

    def check(self, creative):
        pass

    def texts(self, creative):
        return torch.zeros(1, WORDS, 16)

    def encode(self, image):
        means = torch.nn.functional.avg_pool2d(2 * image - 1, diffusion.CELL)
        return torch.cat([means, means.mean(1, keepdim=True)], 1)

    def decode(self, latent):
        grown = torch.nn.functional.interpolate(latent[:, :3], scale_factor=diffusion.CELL, mode="bilinear")
        return grown / 2 + 0.5

    def predict(self, x, t, hint, texts, creative):
        return self.predicting(x, self.alphas[int(t)])


def blurring(x, alpha):
    """Takes what is sharp for noise, so what is left of it has the size of a few cells."""
    blurred = torch.nn.functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False)
    return (x - blurred) / (1 - alpha).sqrt()
