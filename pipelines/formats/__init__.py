"""Files that several stages read or write: npy members of tars, RTTM, word sidecars, the tokenizer; and splits."""
