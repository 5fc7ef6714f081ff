"""Runs one notebook whose inputs and outputs live in S3.

Two programs share a folder, `files` and `notebook`. `files` has the S3
credentials: it fetches the inputs, and stores what the run leaves. `notebook`
executes, and has no credentials; it starts as `bootstrap` and becomes `runner`.
README.md in the folder above describes their contract: environment variables,
files, exit codes.

The package knows nothing of what starts it.
"""
