"""Files that several stages read or write: npy members of tars, RTTM, word files, the tokenizer; and splits."""
