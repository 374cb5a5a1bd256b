"""What the arguments of a vLLM engine must allow for, so that guided pairs can be served by it."""

from vllm.config import VllmConfig


def refuse_unfit(config: VllmConfig, block_size: int, num_blocks: int) -> None:
    """Raises ValueError, one line that names the engine's argument, where a pair could not start whole or stay in step.

    `num_blocks` of `block_size` tokens each is the KV cache's size.
    """
    scheduler, parallel = config.scheduler_config, config.parallel_config
    longest = config.model_config.max_model_len
    pair = 2 * -(-longest // block_size)
    tokens = scheduler.max_num_scheduled_tokens or scheduler.max_num_batched_tokens
    seats = scheduler.max_num_active_seqs or scheduler.max_num_seqs
    two = f"two rows of max_model_len {longest}"
    complaints = [
        (num_blocks < pair, f"KV cache: {num_blocks} blocks of {block_size} tokens, at least {pair} for {two}"),
        (seats < 2, f"max_num_seqs: {seats}, at least 2"),
        (tokens < 2 * longest, f"max_num_batched_tokens: {tokens}, at least {2 * longest} for {two}"),
        (
            not any("GuidedSampler" in str(name) for name in config.model_config.logits_processors or ()),
            "logits_processors: lm_guidance.processor:GuidedSampler is missing",
        ),
        # Features under which vLLM itself may split a prompt, hold a row back, or run a step ahead of the last token.
        (bool(scheduler.async_scheduling), "async_scheduling: must be false"),
        (scheduler.policy != "fcfs", f"scheduling_policy: must be fcfs, not {scheduler.policy}"),
        (scheduler.long_prefill_token_threshold > 0, "long_prefill_token_threshold: must be 0"),
        (scheduler.watermark > 0, "watermark: must be 0"),
        (parallel.data_parallel_size > 1, "data_parallel_size: must be 1, the halves would go to different engines"),
        (parallel.pipeline_parallel_size > 1, "pipeline_parallel_size: must be 1"),
        (config.kv_transfer_config is not None, "kv_transfer_config: must not be set"),
        (config.speculative_config is not None, "speculative_config: must not be set"),
    ]
    wrong = [text for is_wrong, text in complaints if is_wrong]
    if wrong:
        raise ValueError("guided pairs cannot be served: " + "; ".join(wrong))
