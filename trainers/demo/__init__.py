"""The demo's policy: the text it learnt from, the script that trained it, its weights and its first answers."""
