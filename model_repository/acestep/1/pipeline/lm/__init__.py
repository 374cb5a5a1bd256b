"""The 5 Hz language model: what it is asked, what is made of its answers, and how it is reached."""
