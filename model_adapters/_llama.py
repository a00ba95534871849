"""Llama and the families of its shape: separate projections, grouped keys and values, a gated feed-forward."""

from lm_probe.model_adapters._family import Family, weight_at

LLAMA = Family(
    name="llama",
    model_types=("llama", "mistral", "qwen2", "qwen3", "olmo2", "gemma", "gemma2"),
    blocks="model.layers",
    final_norm="model.norm",
    projections={
        "query": weight_at("self_attn.q_proj"),
        "key": weight_at("self_attn.k_proj"),
        "value": weight_at("self_attn.v_proj"),
        "attention_output": weight_at("self_attn.o_proj"),
        "mlp_in": weight_at("mlp.up_proj"),
        "mlp_gate": weight_at("mlp.gate_proj"),
        "mlp_out": weight_at("mlp.down_proj"),
    },
    head_keys=("lm_head.weight",),
    embedding_keys=("model.embed_tokens.weight", "embed_tokens.weight"),
)
