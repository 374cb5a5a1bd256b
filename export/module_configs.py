"""Constructor arguments of diffusers' modules, read from upstream's config.json. Pure."""

from typing import Any

from .layout import DitConfig

Arguments = dict[str, Any]


def transformer(config: DitConfig) -> Arguments:
    """Arguments of AceStepTransformer1DModel."""
    layers = int(config.required("num_hidden_layers"))
    layer_types = config.values.get("layer_types")
    return {
        **_attention(config),
        "hidden_size": config.required("hidden_size"),
        "intermediate_size": config.required("intermediate_size"),
        "num_attention_heads": config.required("num_attention_heads"),
        "num_key_value_heads": config.required("num_key_value_heads"),
        "num_hidden_layers": layers,
        "in_channels": config.required("in_channels"),
        "audio_acoustic_hidden_dim": config.channels,
        "patch_size": config.patch_size,
        "layer_types": None if layer_types is None else list(layer_types[:layers]),
        "encoder_hidden_size": config.condition_width,
        "is_turbo": config.is_turbo,
        "model_version": config.values.get("model_version"),
    }


def condition_encoder(config: DitConfig) -> Arguments:
    """Arguments of AceStepConditionEncoder."""
    return {
        **_encoder(config),
        "text_hidden_dim": config.required("text_hidden_dim"),
        "timbre_hidden_dim": int(config.values.get("timbre_hidden_dim", config.channels)),
        "num_lyric_encoder_hidden_layers": config.required("num_lyric_encoder_hidden_layers"),
        "num_timbre_encoder_hidden_layers": config.required("num_timbre_encoder_hidden_layers"),
    }


def audio_token_detokenizer(config: DitConfig) -> Arguments:
    """Arguments of AceStepAudioTokenDetokenizer."""
    return {
        **_encoder(config),
        "audio_acoustic_hidden_dim": config.channels,
        "pool_window_size": int(config.values.get("pool_window_size", 5)),
        "num_attention_pooler_hidden_layers": int(config.values.get("num_attention_pooler_hidden_layers", 2)),
    }


def audio_tokenizer(config: DitConfig) -> Arguments:
    """Arguments of AceStepAudioTokenizer."""
    return {
        **audio_token_detokenizer(config),
        "fsq_dim": config.required("fsq_dim"),
        "fsq_input_levels": list(config.values.get("fsq_input_levels", [8, 8, 8, 5, 5, 5])),
        "fsq_input_num_quantizers": int(config.values.get("fsq_input_num_quantizers", 1)),
    }


def _attention(config: DitConfig) -> Arguments:
    values = config.values
    rope = values.get("rope_parameters") or {}  # where newer transformers versions write rope_theta
    return {
        "head_dim": config.required("head_dim"),
        "rope_theta": float(values.get("rope_theta") or rope.get("rope_theta") or 1e6),
        "attention_bias": bool(values.get("attention_bias", False)),
        "rms_norm_eps": float(values.get("rms_norm_eps", 1e-6)),
        "sliding_window": int(values.get("sliding_window") or 128),
    }


def _encoder(config: DitConfig) -> Arguments:
    # The XL models have encoders of their own size, named encoder_*; the others share the DiT's.
    def of(key: str) -> Any:
        return config.values.get(f"encoder_{key}") or config.required(key)

    return {
        **_attention(config),
        "hidden_size": config.condition_width,
        "intermediate_size": of("intermediate_size"),
        "num_attention_heads": of("num_attention_heads"),
        "num_key_value_heads": of("num_key_value_heads"),
    }
