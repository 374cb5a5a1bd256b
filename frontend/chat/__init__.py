"""The OpenRouter-compatible API: songs by chat messages, for clients of OpenAI's Chat Completions."""
