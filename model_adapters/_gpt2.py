"""GPT-2: `Conv1D` layers store in x out, and query, key and value lie side by side."""

from lm_probe.model_adapters._family import Family, Projection


def _conv1d(path: str) -> Projection:
    return Projection(f"{path}.weight", lambda weight, _: weight.T)


def _third(index: int) -> Projection:
    return Projection("attn.c_attn.weight", lambda weight, _: weight.T.chunk(3)[index])


GPT2 = Family(
    name="gpt2",
    model_types=("gpt2",),
    blocks="transformer.h",
    final_norm="transformer.ln_f",
    projections={
        "query": _third(0),
        "key": _third(1),
        "value": _third(2),
        "attention_output": _conv1d("attn.c_proj"),
        "mlp_in": _conv1d("mlp.c_fc"),
        "mlp_out": _conv1d("mlp.c_proj"),
    },
    head_keys=("lm_head.weight",),
    embedding_keys=("transformer.wte.weight", "wte.weight"),
)
