"""What LiteLLM makes of the chat API's answers in OpenAI's dialect: `litellm_dialect.py BASE_URL` prints JSON."""

# mypy: ignore-errors

import json
import sys

import litellm

ASKED = {"model": "openai/m", "api_base": sys.argv[1], "api_key": "none", "modalities": ["text", "audio"],
         "audio": {"voice": "alloy", "format": "wav"}, "max_retries": 0}
SONG = [{"role": "user", "content": "<prompt>plan:x meta</prompt><lyrics>[Verse]\nla la</lyrics>"}]
FAILING = [{"role": "user", "content": "<prompt>plan:x fail:400</prompt><lyrics>la</lyrics>"}]

made = litellm.completion(messages=SONG, n=2, **ASKED)
chunks = list(litellm.completion(messages=SONG, stream=True, stream_options={"include_usage": True}, **ASKED))
built = litellm.stream_chunk_builder(chunks, messages=SONG)
history = [*SONG, made.choices[0].message, built.choices[0].message.model_dump(), *SONG]
again = litellm.completion(messages=history, **ASKED)
try:
    for _ in litellm.completion(messages=FAILING, stream=True, **ASKED):
        pass
    error = None
except Exception as caught:
    error = str(caught)
print(json.dumps({
    "made": [choice.message.model_dump() for choice in made.choices], "built": built.choices[0].message.model_dump(),
    "usage": built.usage.model_dump(), "again": again.choices[0].message.model_dump(), "error": error,
}, default=str))
