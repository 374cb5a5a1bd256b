"""Audio on disk: the spool of raw samples, the encoded files, and how they are served."""
