"""Names of the constant tensors' files, for those who only copy them."""

SILENCE_FILE = "silence_latent.npy"
NULL_CONDITION_FILE = "null_condition.npy"
