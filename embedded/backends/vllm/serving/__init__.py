"""What the vllm backend is made of."""
