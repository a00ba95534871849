"""Models with random weights and the shapes of Pythia."""

import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

VOCABULARY = 50304
SHAPES = {"14m": (128, 6, 4), "70m": (512, 6, 8), "160m": (768, 12, 12), "410m": (1024, 24, 16)}


def random_model(size: str, seed: int = 0) -> GPTNeoXForCausalLM:
    width, layers, heads = SHAPES[size]
    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=2048,
    )
    return GPTNeoXForCausalLM(config).eval()
