"""OPT, with the 350m shape: post-norm, no final norm, projected in and out of a narrower embedding."""

from lm_probe.model_adapters._family import Family, weight_at

OPT = Family(
    name="opt",
    model_types=("opt",),
    blocks="model.decoder.layers",
    final_norm="model.decoder.final_layer_norm",
    head_projection="model.decoder.project_out",
    projections={
        "query": weight_at("self_attn.q_proj"),
        "key": weight_at("self_attn.k_proj"),
        "value": weight_at("self_attn.v_proj"),
        "attention_output": weight_at("self_attn.out_proj"),
        "mlp_in": weight_at("fc1"),
        "mlp_out": weight_at("fc2"),
    },
    head_keys=("lm_head.weight",),
    embedding_keys=("model.decoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
)
