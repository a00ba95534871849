"""GPT-NeoX (Pythia): query, key and value are fused and interleaved head by head."""

from torch import Tensor

from lm_probe.model_adapters._family import Family, Projection, weight_at


def _interleaved(index: int) -> Projection:
    def cut(fused: Tensor, head_size: int) -> Tensor:
        # Rows run head by head: all of one head's query, then its key, then its value.
        by_head: Tensor = fused.unflatten(0, (-1, 3, head_size))
        return by_head[:, index].flatten(0, 1)

    return Projection("attention.query_key_value.weight", cut)


GPT_NEOX = Family(
    name="gpt_neox",
    model_types=("gpt_neox",),
    blocks="gpt_neox.layers",
    final_norm="gpt_neox.final_layer_norm",
    projections={
        "query": _interleaved(0),
        "key": _interleaved(1),
        "value": _interleaved(2),
        "attention_output": weight_at("attention.dense"),
        "mlp_in": weight_at("mlp.dense_h_to_4h"),
        "mlp_out": weight_at("mlp.dense_4h_to_h"),
    },
    # On disk the head is `embed_out`; newer transformers call it `lm_head` in memory and may save it so.
    head_keys=("embed_out.weight", "lm_head.weight"),
    embedding_keys=("gpt_neox.embed_in.weight", "embed_in.weight"),
)
