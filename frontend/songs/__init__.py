"""Songs from the `acestep` pipeline on Triton: a request goes in, typed events come out."""
